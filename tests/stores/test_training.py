"""Runs with a workdir on a store: the same bits as on a local disk, also when killed in mid-save."""

import json
import signal
import time

import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import as_path, find_files
from dualdub_jax.training.checkpoint import newest_step
from tests import programs
from tests.multiprocess import train_program

PROGRAM = "tests.multiprocess.train_program"
NUM_STEPS = 4
OPTIONS = {"num_steps": NUM_STEPS, "config": {"checkpoint": {"save_every_steps": 1, "keep_last": 2}}}


@pytest.fixture(scope="module")
def digest(tmp_path_factory):
    """Of the parameters after an uninterrupted run on a local disk."""
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr(train_program, "print", lambda *args, **_: lines.append(args), raising=False)
        train_program.train(tmp_path_factory.mktemp("local") / "run", OPTIONS)
    return lines[-1][1]


@pytest.fixture(scope="module", params=["gs", "s3"])
def trained(request, stores_environment):
    """The working directory of a complete run; the tests leave it complete."""
    workdir = as_path(f"{request.param}://films/trained")
    train_program.train(workdir, OPTIONS)
    return workdir


def _resume(workdir, capsys):
    """(first batch, digest, all lines) of a run in this process."""
    capsys.readouterr()
    train_program.train(workdir, OPTIONS)
    lines = capsys.readouterr().out.splitlines()
    first = next(int(line.split()[1]) for line in lines if line.startswith("batch "))
    return first, int(lines[-1].split()[1]), lines


def test_a_half_saved_checkpoint_is_passed_over_and_metrics_go_on(trained, digest, capsys):
    # What a process that is killed before the marker leaves.
    (trained / "stage" / f"{NUM_STEPS}" / "commit_success.txt").unlink()
    assert newest_step(trained / "stage") == NUM_STEPS - 1
    lines = (trained / "metrics.jsonl").read_text().splitlines()
    num_logs = len(list((trained / "tensorboard").iterdir()))
    assert _resume(trained, capsys)[:2] == (NUM_STEPS - 1, digest)
    assert sorted(path.name for path in (trained / "stage").iterdir() if path.name.isdigit()) == ["3", "4"]
    *before, last = (trained / "metrics.jsonl").read_text().splitlines()
    assert before == lines
    assert json.loads(last)["step"] == NUM_STEPS
    assert len(list((trained / "tensorboard").iterdir())) == num_logs + 1


def test_a_damaged_checkpoint_is_set_aside(trained, digest, capsys):
    for path in find_files(trained / "stage" / f"{NUM_STEPS}" / "state", "manifest.ocdbt"):
        path.write_bytes(b"nothing")
    first, again, lines = _resume(trained, capsys)
    assert (first, again) == (NUM_STEPS - 1, digest)
    assert any(f"it is set aside as {NUM_STEPS}.unreadable" in line for line in lines)
    assert (trained / "stage" / f"{NUM_STEPS}.unreadable" / "commit_success.txt").exists()


def test_a_store_that_does_not_answer_is_no_damage(trained, monkeypatch):
    def away(*_):
        raise ValueError("UNAVAILABLE: CURL error: Error reading gs://films/x")

    monkeypatch.setattr("dualdub_jax.training.checkpoint.orbax_tree.read", away)
    with pytest.raises(UserError, match=rf"stage/{NUM_STEPS}: cannot be read .*check network"):
        train_program.train(trained, OPTIONS)
    assert newest_step(trained / "stage") == NUM_STEPS


@pytest.mark.slow
def test_killed_in_mid_save_it_resumes_from_a_whole_checkpoint(stores_environment, digest, tmp_path, capsys):
    workdir = as_path(f"s3://films/{tmp_path.name}")
    options = json.dumps(OPTIONS | {"step_s": 0.2})
    process = programs.start(PROGRAM, [str(workdir), options])
    try:
        saved = _kill_in_mid_save(process, workdir / "stage")
    finally:
        process.kill()
        process.communicate()
    assert newest_step(workdir / "stage") == saved
    assert _resume(workdir, capsys)[:2] == (saved, digest)


def _kill_in_mid_save(process, folder):
    """Kills a run while objects of a checkpoint are there and its marker is not; the newest whole step."""
    for _ in range(6000):
        names = [str(path.relative_to(folder)) for path in find_files(folder, "*")]
        steps = {int(first) for name in names if (first := name.split("/")[0]).isdigit()}
        whole = {step for step in steps if f"{step}/commit_success.txt" in names}
        if whole and max(steps) not in whole:
            process.send_signal(signal.SIGKILL)
            process.wait()
            # It may have been done in the meantime, and then nothing is half saved: the next one will do.
            return newest_step(folder)
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.005)
    raise TimeoutError(folder)
