"""Windows of both conventions, and what their normalisation does and does not hide."""

import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.casp.waveform import dualbench_windows, is_silent, normalise, podeval_chunks

NOISE = np.random.default_rng(0).normal(size=5000).astype(np.float32)


def test_level_and_offset_are_taken_away():
    loud = normalise(NOISE)
    np.testing.assert_allclose(normalise(0.01 * NOISE + 0.2), loud, atol=1e-4)
    assert np.abs(loud).max() == pytest.approx(1.0)
    np.testing.assert_allclose(normalise(jnp.asarray(NOISE)), loud, atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_silence_stays_silence(level):
    assert not np.any(normalise(np.full(10, level, np.float32)))
    assert is_silent(np.full(10, level, np.float32))
    assert is_silent(np.zeros(0, np.float32)) and not is_silent(NOISE)


def test_dualbench_takes_the_beginning_and_pads_behind_the_normalised_crop():
    (window,) = dualbench_windows(NOISE, crop=4000, window=4200)
    np.testing.assert_array_equal(window[:4000], normalise(NOISE[:4000]))
    assert not window[4000:].any()
    # The mean is that of the stem, not of the stem with zeros behind it.
    (short,) = dualbench_windows(NOISE[:1000] + 0.5, crop=4000, window=4200)
    np.testing.assert_allclose(short[:1000], normalise(NOISE[:1000]), atol=1e-5)


def test_crops_at_a_distance_reach_the_end():
    windows = dualbench_windows(NOISE, crop=2000, window=2000, hop=800)
    starts = [0, 800, 1600, 2400, 3000]
    np.testing.assert_array_equal(windows, [normalise(NOISE[s : s + 2000]) for s in starts])
    assert len(dualbench_windows(NOISE[:1500], crop=2000, window=2000, hop=800)) == 1


def test_podeval_repeats_what_is_too_short():
    first, last = podeval_chunks(NOISE, chunk=3000)
    peak = np.abs(NOISE).max()
    np.testing.assert_allclose(first, NOISE[:3000] / peak, rtol=1e-6)
    np.testing.assert_allclose(last[:2000], NOISE[3000:] / peak, rtol=1e-6)
    np.testing.assert_array_equal(last[2000:], last[:1000])
