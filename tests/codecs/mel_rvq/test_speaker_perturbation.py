"""Bends of spectra: what they move, and what they leave alone."""

import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.mel_rvq.training.speaker_perturbation import Warp, sample_warp, warp
from dualdub_jax.dsp.mel import LOG_FLOOR, log_mel, mel_band_edges_hz

RATE, BANDS = 16_000, 80
CENTRES_HZ = mel_band_edges_hz(BANDS, RATE)[1:-1]


def _mel(waveform: np.ndarray) -> jax.Array:
    return log_mel(jnp.asarray(waveform, jnp.float32)[None], RATE, 1024, 320, BANDS)


def _sine(hz: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(8000) / RATE)


def test_a_stretch_moves_a_tone_by_its_ratio():
    by = Warp(jnp.array([np.log(1.2)], jnp.float32), jnp.zeros((1, BANDS)))
    moved = np.asarray(warp(_mel(_sine(1000.0)), by, RATE))[0, 10]
    assert abs(np.log(CENTRES_HZ[moved.argmax()] / 1200.0)) < 0.04


def test_no_bend_changes_nothing_and_silence_stays_silence():
    nothing = Warp(jnp.zeros(1), jnp.zeros((1, BANDS)))
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000)
    np.testing.assert_allclose(warp(_mel(noise), nothing, RATE), _mel(noise), atol=0.02)
    silence = warp(_mel(np.zeros(8000)), sample_warp(jax.random.key(0), 1, BANDS, RATE, 0.2), RATE)
    np.testing.assert_allclose(silence, np.log(LOG_FLOOR), atol=1e-4)


def test_warps_differ_by_example_and_occur_at_their_rate():
    warps = sample_warp(jax.random.key(1), 400, BANDS, RATE, reach=0.15, rate=0.25)
    is_warped = np.asarray(warps.log_ratio) != 0.0
    assert 0.15 < is_warped.mean() < 0.35
    np.testing.assert_array_equal(np.any(np.asarray(warps.log_gain) != 0.0, axis=1), is_warped)
    assert np.abs(warps.log_ratio).max() <= 0.15
    assert len(np.unique(np.asarray(warps.log_ratio)[is_warped])) == is_warped.sum()
