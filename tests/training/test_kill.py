"""`kill -9` at moments that nobody chose, mostly inside a save: the run goes on as if nothing had been."""

import json
import random
import signal
import time

import pytest

from dualdub_jax.training.checkpoint import newest_step
from tests import programs

PROGRAM = "tests.multiprocess.train_program"
NUM_STEPS, NUM_KILLS = 40, 3
# A save after every step, in the background.
OPTIONS = {
    "num_steps": NUM_STEPS,
    "step_s": 0.1,
    "config": {"checkpoint": {"save_every_steps": 1, "keep_last": 2}},
}
LONGEST_LIFE_STEPS, LONGEST_REST_S = 10, 0.2  # three lives do not reach the end


def _batches(lines):
    """Numbers of the batches, as they are sent."""
    return (int(line.split()[1]) for line in lines if line.startswith("batch "))


def _finish(workdir):
    """The number of the first batch, and the last line: a digest of the parameters."""
    lines = programs.run(PROGRAM, [str(workdir), json.dumps(OPTIONS)]).splitlines()
    return next(_batches(lines)), lines[-1]


def _losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines}


@pytest.mark.slow
def test_killed_again_and_again_it_goes_on_from_its_newest_checkpoint_and_ends_the_same(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _, digest = _finish(whole)
    saved = num_kills = 0
    while num_kills < NUM_KILLS or not saved:
        num_kills += 1
        process = programs.start(PROGRAM, [str(broken), json.dumps(OPTIONS)])
        batches = _batches(process.stdout)
        assert next(batches) == saved
        for _ in range(
            random.randint(2, LONGEST_LIFE_STEPS)
        ):  # the second is sent when the first has compiled
            next(batches)
        time.sleep(random.uniform(0.0, LONGEST_REST_S))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        saved = newest_step(broken / "stage") or 0
    first_batch, broken_digest = _finish(broken)
    assert first_batch == saved
    assert broken_digest == digest
    # Lines of steps that were lost are there twice: the later one counts, and says the same.
    assert _losses(broken) == _losses(whole)
