"""Signals in blocks are the signals as a whole."""

import numpy as np
import pytest
import soxr

from dualdub_jax.dsp.blocks import BLOCK_SAMPLES, even_blocks, fit_blocks, resample_blocks

RNG = np.random.default_rng(0)


def parts(samples: np.ndarray) -> list[np.ndarray]:
    return np.split(samples, [0, 1, 500, 500, 2_345])


@pytest.mark.parametrize("shape", [(6_000,), (6_000, 2)])
@pytest.mark.parametrize("to_hz", [8_000, 44_100, 48_000])
def test_resampled_blocks_are_the_resampled_whole(shape, to_hz):
    samples = RNG.normal(0, 0.1, shape).astype(np.float32)
    made = np.concatenate(list(resample_blocks(parts(samples), 16_000, to_hz, len(shape))))
    whole = soxr.resample(samples, 16_000, to_hz)
    assert made.shape == whole.shape and made.dtype == np.float32
    np.testing.assert_allclose(made, whole, atol=1e-5)


def test_equal_rates_change_nothing():
    samples = RNG.normal(size=6_000)
    np.testing.assert_array_equal(np.concatenate([*resample_blocks(parts(samples), 9, 9, 1)]), samples)


@pytest.mark.parametrize("num_samples", [0, 1, 499, 6_000, 6_001, 6_000 + 2 * BLOCK_SAMPLES + 3])
def test_signals_are_cut_or_followed_by_silence(num_samples):
    samples = RNG.normal(size=6_000).astype(np.float32)
    made = np.concatenate([samples[:0], *fit_blocks(parts(samples), num_samples, 1)])
    assert len(made) == num_samples
    np.testing.assert_array_equal(made[:6_000], samples[:num_samples])
    assert not made[6_000:].any()
    stereo = list(fit_blocks((), 7, 2))
    assert np.concatenate(stereo).shape == (7, 2)


@pytest.mark.parametrize("size", [1_000, 1_500, 6_000, 7_000])
def test_blocks_are_evened(size):
    samples = RNG.normal(size=6_000)
    made = list(even_blocks(parts(samples), size))
    np.testing.assert_array_equal(np.concatenate(made), samples)
    assert {len(block) for block in made[:-1]} <= {size} and 0 < len(made[-1]) <= size
