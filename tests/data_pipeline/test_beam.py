"""Builds and preparation on Apache Beam: the bytes of local processes. Needs the extra `beam` for most."""

import functools
import hashlib
import io
import json
import pathlib
import shutil

import numpy as np
import pytest
import rich.console

from dualdub_jax.apps.cli import main
from dualdub_jax.config import BadRecordConfig
from dualdub_jax.data_pipeline.beam import Beam, prepare_shards
from dualdub_jax.data_pipeline.build import build_configs
from dualdub_jax.data_pipeline.derivations import derivations
from dualdub_jax.data_pipeline.item_spool import ItemSpool
from dualdub_jax.data_pipeline.prepare import prepare
from dualdub_jax.errors import UserError
from tests.data_pipeline.beeps import Beeps, KilledOnce, die_once
from tests.data_pipeline.test_derivations import BRIGHTNESS, Brightness, _config
from tests.labelled_clips import write_clips
from tests.tiny_dataset import make_record

DIRECT = Beam("DirectRunner", ("direct_running_mode=in_memory",))
PROCESSES = Beam("DirectRunner", ("direct_running_mode=multi_processing", "direct_num_workers=2"))


def _quiet() -> rich.console.Console:
    return rich.console.Console(file=io.StringIO(), width=200)


def _digests(folder: pathlib.Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_build_has_the_bytes_of_local_processes(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("apache_beam")
    build_configs(Beeps(), tmp_path / "local", only="loud", num_processes=1, console=_quiet())
    # As after a worker was killed: some items are there, others are not.
    recipe = Beeps().recipe("loud")
    spool = ItemSpool.of_build(tmp_path / "beam", "beeps/loud/0.3.0", recipe)
    spool.write("train", 0, Beeps().make_records("loud", 0))
    build_configs(Beeps(), tmp_path / "beam", only="loud", console=_quiet(), beam=DIRECT)
    assert _digests(tmp_path / "beam" / "beeps") == _digests(tmp_path / "local" / "beeps")


def test_a_killed_worker_leaves_the_same_bytes(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("apache_beam")
    monkeypatch.setenv("KILLED_ONCE", str(tmp_path / "killed"))
    build_configs(Beeps(), tmp_path / "local", only="loud", num_processes=1, console=_quiet())
    build_configs(KilledOnce(), tmp_path / "beam", only="loud", console=_quiet(), beam=PROCESSES)
    assert (tmp_path / "killed").exists() and "a worker was killed" in capfd.readouterr().err
    assert _digests(tmp_path / "beam" / "beeps") == _digests(tmp_path / "local" / "beeps")


def test_preparation_has_the_bytes_of_this_process(tiny_data_dir: str, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("apache_beam")
    source = pathlib.Path(tiny_data_dir) / "tiny_films" / "soundtrack" / "1.0.0"
    config = _config(tmp_path, BRIGHTNESS)
    (derivation,) = derivations(config)
    folders = [pathlib.Path(shutil.copytree(source, tmp_path / name)) for name in ("local", "beam")]
    prepare(folders[0], *derivation, console=_quiet())
    elsewhere = functools.partial(prepare_shards, DIRECT, folders[1], config, None, derivation.kind)
    prepare(folders[1], *derivation, console=_quiet(), elsewhere=elsewhere)
    assert _digests(folders[0]) == _digests(folders[1])


class KilledBrightness(Brightness):
    """One of its processes is killed, the first time."""

    def extract(self, frames: np.ndarray) -> np.ndarray:
        die_once()
        return super().extract(frames)


def test_a_worker_killed_in_preparation_leaves_the_same_bytes(
    tiny_data_dir: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("apache_beam")
    source = pathlib.Path(tiny_data_dir) / "tiny_films" / "soundtrack" / "1.0.0"
    folders = [pathlib.Path(shutil.copytree(source, tmp_path / name)) for name in ("local", "beam")]
    prepare(folders[0], *derivations(_config(tmp_path, BRIGHTNESS))[0], console=_quiet())
    monkeypatch.setenv("KILLED_ONCE", str(tmp_path / "killed"))
    config = _config(tmp_path, "tests.data_pipeline.test_beam:KilledBrightness")
    (derivation,) = derivations(config)
    elsewhere = functools.partial(prepare_shards, PROCESSES, folders[1], config, None, derivation.kind)
    prepare(folders[1], *derivation, console=_quiet(), elsewhere=elsewhere)
    assert (tmp_path / "killed").exists() and "a worker was killed" in capfd.readouterr().err
    assert _digests(folders[0]) == _digests(folders[1])


def test_records_that_all_workers_leave_out_are_counted_together(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("apache_beam")
    records = [make_record(f"clip_{i}", video=b"no film" if i < 2 else b"") for i in range(4)]
    folder = write_clips(tmp_path, records)
    config = _config(tmp_path, BRIGHTNESS)
    (derivation,) = derivations(config)
    elsewhere = functools.partial(prepare_shards, DIRECT, folder, config, None, derivation.kind)
    with pytest.raises(UserError, match=r"2 records cannot be used, and bad_records.max_share accepts 1"):
        prepare(folder, *derivation, console=_quiet(), elsewhere=elsewhere)
    store = prepare(
        folder,
        *derivation,
        bad_records=BadRecordConfig(max_share=0.5),
        console=_quiet(),
        elsewhere=elsewhere,
    )
    listed = (store.folder / "failures.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in listed) == ["clip_0", "clip_1"]
    assert not list(store.folder.glob("failures-*"))


def test_an_option_that_the_runner_refuses_is_named() -> None:
    pytest.importorskip("apache_beam")
    with pytest.raises(UserError, match="--beam-option direct_num_workers=many: refused by DirectRunner"):
        Beam("DirectRunner", ("direct_num_workers=many",)).run(lambda: [1], print)


def test_without_the_package_it_is_named(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    argv = ["data", "build", "puppet_stage", "--out", str(tmp_path / "out"), "--clips", "1"]
    assert main([*argv, "--beam-runner", "FlinkRunner"]) == 2
    assert "--beam-runner FlinkRunner: needs the package apache-beam; pip install" in capsys.readouterr().err
    assert main([*argv, "--beam-option", "a=b"]) == 2
    assert "--beam-option: only goes with --beam-runner" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
