"""Gradient accumulation: a batch in parts is the batch."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from dualdub_jax.config import OptimizerConfig, StageConfig
from dualdub_jax.curriculum.losses import scored_codes
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.errors import UserError
from tests.tiny import random_batch, tiny_config

STAGE = StageConfig(name="stage", batch_size=4, optimizer=OptimizerConfig(warmup_steps=1, clip_norm=1e9))
CONFIG = tiny_config()


def _unequal_batch():
    """Parts score 36 to 12 frames of background; one has no speech at all."""
    batch = random_batch(CONFIG, 4, seed=3)
    lengths = np.array([12, 3, 12, 9])
    return batch.replace(
        frame_mask=np.arange(CONFIG.grid.num_frames) < lengths[:, None],
        has_speech=np.array([True, False, True, False]),
        has_script=np.array([True, True, False, False]),
    )


@pytest.fixture(scope="module")
def steps():
    """State and metrics after one step on the same batch, whole and in two parts."""
    made = []
    for num_parts in (1, 2):
        phase = stage_phase(dataclasses.replace(CONFIG, gradient_accumulation_steps=num_parts), STAGE, None)
        state = jax.jit(lambda rng, phase=phase: nn.unbox(phase.init(rng, None)))(jax.random.key(0))
        made.append(jax.jit(phase.step)(state, _unequal_batch(), jax.random.key(1)))
    return made


def test_parts_add_up_to_the_batch_where_they_score_unequal_numbers_of_codes(steps):
    (whole, whole_metrics), (parts, parts_metrics) = steps
    assert set(whole_metrics) == set(parts_metrics)
    for name, value in whole_metrics.items():
        np.testing.assert_allclose(parts_metrics[name], value, rtol=1e-5, err_msg=name)
    for name in ("mu", "nu"):  # of Adam after one step: the gradient, and its square
        moments = [
            jax.tree.leaves(optax.tree_utils.tree_get(state.opt_state, name)) for state in (whole, parts)
        ]
        for a, b in zip(*moments, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4 * max(float(np.abs(a).max()), 1e-6))


def test_tokens_are_the_codes_that_were_scored(steps):
    batch = _unequal_batch()
    expected = {"speech": 24 * 3, "background": 36 * 2}
    scored = {name: float(count) for name, count in scored_codes(batch).items()}
    has_both = batch.has_speech & batch.has_script
    is_read = (batch.script_alignment >= 0) & batch.frame_mask & has_both[:, None]
    assert scored.pop("alignment") == is_read.sum() > 0
    assert scored.pop("acoustics") == 2 * len(batch.has_acoustics)
    assert scored == expected
    for _, metrics in steps:
        assert metrics["tokens"] == sum(expected.values())


def test_a_batch_that_does_not_cut_into_the_parts_is_refused():
    config = dataclasses.replace(CONFIG, gradient_accumulation_steps=3)
    with pytest.raises(UserError, match=r"stage 'stage': batch_size 4 is not a multiple of .* 3"):
        stage_phase(config, STAGE, None)
