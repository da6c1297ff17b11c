"""The room as a condition, and what the video tells of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.curriculum.losses import acoustics_loss
from dualdub_jax.dsp.acoustics import ACOUSTICS_RANGES
from dualdub_jax.dsp.acoustics_bins import bin_values, bin_weights
from tests.tiny import random_batch, tiny_config

NUM_BINS = 9


def test_acoustics_lie_between_their_two_nearest_bins():
    acoustics = np.random.default_rng(0).uniform([0.06, -79], [3.0, -21], (50, 2)).astype(np.float32)
    weights = np.asarray(bin_weights(acoustics, NUM_BINS))
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    assert ((weights > 0).sum(-1) <= 2).all()
    middles = np.asarray(bin_values(np.arange(NUM_BINS)[:, None].repeat(2, 1), NUM_BINS))
    heard = np.stack([np.exp(weights[:, 0] @ np.log(middles[:, 0])), weights[:, 1] @ middles[:, 1]], axis=1)
    np.testing.assert_allclose(heard, acoustics, rtol=1e-4)


def test_the_middle_of_a_bin_is_that_bin_alone():
    bins = np.stack([np.arange(NUM_BINS), np.arange(NUM_BINS)[::-1]], axis=1)
    weights = bin_weights(bin_values(bins, NUM_BINS), NUM_BINS)
    np.testing.assert_allclose(weights, jax.nn.one_hot(bins, NUM_BINS), atol=1e-4)


@pytest.mark.parametrize(("acoustics", "place"), [((0.0, -200.0), 0), ((60.0, 3.0), NUM_BINS - 1)])
def test_what_lies_beyond_the_bins_is_cut(acoustics, place):
    np.testing.assert_array_equal(bin_weights(np.float32(acoustics), NUM_BINS).argmax(-1), [place, place])


def test_the_ends_are_those_that_the_command_line_names():
    lowest, highest = (np.asarray(bin_values(np.array([end, end]), NUM_BINS)) for end in (0, NUM_BINS - 1))
    for i, (low, high) in enumerate(ACOUSTICS_RANGES.values()):
        np.testing.assert_allclose([lowest[i], highest[i]], [low, high], rtol=1e-5)


def test_the_loss_covers_known_acoustics_only():
    batch = random_batch(tiny_config(), 3).replace(
        acoustics=np.float32([[0.2, -50.0], [0.8, -30.0], [np.nan, np.nan]]),
        has_acoustics=np.array([True, True, False]),
    )
    told = 50.0 * bin_weights(jnp.nan_to_num(batch.acoustics, nan=1.0), NUM_BINS)
    right, wrong = acoustics_loss(told, batch), acoustics_loss(told[jnp.array([1, 0, 2])], batch)
    assert right.weight.tolist() == [2.0, 2.0, 0.0] and right.correct.tolist() == [2.0, 2.0, 0.0]
    assert np.isfinite(right.loss).all() and right.loss[2] == 0.0
    assert (wrong.loss[:2] > right.loss[:2] + 1.0).all()
    nothing = acoustics_loss(jnp.zeros((3, 2, NUM_BINS)), batch)
    np.testing.assert_allclose(nothing.loss[:2], 2 * np.log(NUM_BINS), rtol=1e-5)
