"""A full disk stops the run with the path; what was saved before is whole, and the run goes on from it."""

import json

import pytest

from dualdub_jax.training.checkpoint import newest_step
from tests import programs

PROGRAM = "tests.multiprocess.train_program"
OPTIONS = {"num_steps": 7, "config": {"checkpoint": {"save_every_steps": 2, "keep_last": 2}}}
# No file may grow beyond this. Logs stay below it, the arrays of a checkpoint do not.
LARGEST_FILE_BYTES = 32_768


def _run(workdir, **options):
    """Exit status and lines of one run."""
    process = programs.start(PROGRAM, [str(workdir), json.dumps(OPTIONS | options)])
    try:
        output, _ = process.communicate(timeout=900)
    finally:
        process.kill()
    return process.returncode, output.splitlines()


def _first_batch(lines):
    return next(int(line.split()[1]) for line in lines if line.startswith("batch "))


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_the_checkpoint_before_is_gone_on_from(tmp_path):
    status, lines = _run(tmp_path, fails_at=3)
    assert status == 1 and newest_step(tmp_path / "stage") == 2, lines

    status, lines = _run(tmp_path, largest_file=LARGEST_FILE_BYTES)
    assert _first_batch(lines) == 2
    assert status == 2, lines
    messages = [line for line in lines if line.startswith("dualdub: ")]
    assert messages == [
        f"dualdub: {tmp_path / 'stage'}: the disk is full; the checkpoint of step 2 is complete; "
        "free some space and rerun the command to resume"
    ]
    assert newest_step(tmp_path / "stage") == 2

    status, lines = _run(tmp_path)
    assert _first_batch(lines) == 2
    assert status == 0 and lines[-1].startswith("done"), lines
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = {}
    for line in metrics:  # steps that were done twice have the same loss twice
        assert losses.setdefault(line["step"], line["loss"]) == line["loss"]
    assert sorted(losses) == list(range(1, 8))
