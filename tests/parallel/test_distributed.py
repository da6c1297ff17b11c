"""The flags of several processes, and the share of a batch that a process loads."""

import contextlib
import threading
import types

import numpy as np
import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.errors import UserError
from dualdub_jax.parallel import distributed
from dualdub_jax.parallel.mesh import AXES, batch_share

TRAIN = ["train", "--config", "configs/puppet.py", "--workdir", "unused"]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--coordinator", "host:1"], "--coordinator: only goes with --distributed"),
        (
            ["--distributed", "--coordinator", "host:1"],
            "give all of --coordinator HOST:PORT",
        ),
        (
            ["--distributed", "--coordinator", "host", "--num-processes", "2", "--process-id", "0"],
            "--coordinator host: expected HOST:PORT",
        ),
        (
            ["--distributed", "--coordinator", "h:1", "--num-processes", "2", "--process-id", "2"],
            "--process-id 2: expected 0 to 1",
        ),
    ],
)
def test_flags_that_do_not_fit_are_named_on_one_line(capsys, flags, message):
    assert main([*TRAIN, *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def _mesh(sizes, processes):
    """A mesh of devices that only know their process."""
    devices = np.array([types.SimpleNamespace(process_index=p) for p in processes]).reshape(sizes)
    return types.SimpleNamespace(devices=devices, shape=dict(zip(AXES, sizes, strict=True)))


@pytest.mark.parametrize(
    "sizes, processes, share",
    [
        ((4, 1, 1, 1), [0, 0, 1, 1], (0, 2)),
        ((2, 2, 1, 1), [1, 1, 0, 0], (1, 2)),
        ((2, 1, 2, 1), [0, 0, 1, 1], (0, 2)),
        ((1, 1, 4, 1), [0, 0, 1, 1], (0, 1)),  # a split model: both load every row
        ((2, 1, 1, 2), [0, 1, 0, 1], (0, 1)),
        ((4, 1, 1, 1), [0, 1, 0, 1], (0, 2)),  # as the torus of a TPU may have it
        ((2, 1, 2, 1), [0, 1, 2, 3], (0, 2)),
    ],
)
def test_processes_that_hold_the_same_rows_load_the_same_share(sizes, processes, share):
    assert batch_share(_mesh(sizes, processes)) == share


def test_overlapping_rows_are_refused():
    with pytest.raises(UserError, match="overlapping parts of a batch"):
        batch_share(_mesh((4, 1, 1, 1), [0, 0, 0, 1]))


def test_one_process_gathers_from_itself():
    assert distributed.gather_json(["a", 1]) == [["a", 1]]
    assert distributed.is_first()


def test_a_replaced_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "bundle"
    with distributed.replaced_folder(target, "config.json") as temporary:
        (temporary / "a").write_text("old")
        assert not target.exists()
    with pytest.raises(OSError), distributed.replaced_folder(target, "config.json") as temporary:
        (temporary / "a").write_text("new")
        raise OSError
    assert (target / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_threads_of_a_failed_save_still_write_is_removed(tmp_path):
    def write(folder):
        with contextlib.suppress(OSError):  # ends once the folder is gone
            for number in range(100_000):
                (folder / str(number)).touch()

    with pytest.raises(OSError), distributed.replaced_folder(tmp_path / "bundle", "config.json") as temporary:
        late = threading.Thread(target=write, args=(temporary,))
        late.start()
        raise OSError
    late.join()
    assert not list(tmp_path.iterdir())
