"""Steps that are skipped: on the device, by the limit of the host, with an end to patience."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.config import BadStepConfig
from dualdub_jax.training.bad_steps import BadSteps, TrainingDivergedError, skip_bad

LARGEST = np.finfo(np.float32).max


def _step(state, batch, rng, frozen):
    return {"x": state["x"] + batch}, {"loss": batch.sum(), "gradient_norm": jnp.abs(batch).max()}


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [np.inf, 0.0], [np.inf, -np.inf], [900.0, 200.0]])
def test_a_bad_step_leaves_the_state_alone(bad):
    step = jax.jit(skip_bad(_step))
    state = {"x": jnp.asarray([1.0, 2.0])}
    state, metrics = step(state, jnp.asarray([2.0, 1.0]), None, None, np.float32(1000))
    assert metrics["skipped"] == 0
    after, metrics = step(state, jnp.asarray(bad), None, None, np.float32(1000))
    assert metrics["skipped"] == 1
    np.testing.assert_array_equal(after["x"], state["x"])


def test_without_skipping_a_loss_that_is_not_finite_ends_the_run():
    steps = BadSteps("stage", BadStepConfig(), None)
    assert steps.limit(0) == LARGEST
    with pytest.raises(TrainingDivergedError, match=r"stage: loss is nan at step 4; .* a, b; .*skip=true"):
        steps.settle(4, {"loss": float("nan")}, ["a", "b"])


def test_so_many_in_a_row_end_the_run_and_a_good_one_between_them_counts_anew():
    steps = BadSteps("stage", BadStepConfig(skip=True, max_in_a_row=2), None)
    for step, skipped in enumerate([1.0, 0.0, 1.0]):
        assert steps.settle(step, {"loss": 3.0, "skipped": skipped}, []) == bool(skipped)
    with pytest.raises(TrainingDivergedError, match=r"2 consecutive steps were skipped, .* step 3"):
        steps.settle(3, {"loss": float("inf"), "skipped": 1.0}, ["a"])
    assert steps.total == 3


def test_the_limit_follows_the_median_and_never_looks_at_the_step_before():
    steps = BadSteps("stage", BadStepConfig(skip=True, spike_ratio=2.0), None)
    for step in range(10):
        steps.settle(step, {"loss": 5.0 + step, "skipped": 0.0}, [])
    assert steps.limit(8) == LARGEST  # only seven losses up to step 6
    assert steps.limit(9) == np.float32(2 * 8.5)
    # Whether the step before is known already depends on when the host looks.
    limit = steps.limit(10)
    steps.settle(10, {"loss": 1000.0, "skipped": 0.0}, [])
    assert steps.limit(11) != limit and steps.limit(10) == limit


def test_an_interrupted_run_has_the_same_limits():
    steps = BadSteps("stage", BadStepConfig(skip=True, spike_ratio=2.0), None)
    for step in range(50):
        steps.settle(step, {"loss": 5.0 + step % 7, "skipped": float(step == 30)}, [])
    again = BadSteps(
        "stage", BadStepConfig(skip=True, spike_ratio=2.0), json.loads(json.dumps(steps.state()))
    )
    for step in range(50, 60):
        assert again.limit(step) == steps.limit(step)
        for each in (steps, again):
            each.settle(step, {"loss": 20.0 + step, "skipped": 0.0}, [])
    assert again.total == steps.total == 1
