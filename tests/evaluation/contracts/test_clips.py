"""Tracks at other rates enter an evaluation at the metrics' rate, and a duration error survives it."""

import fractions

import numpy as np
import pytest

from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, at_metric_rate

DURATION_S = fractions.Fraction(3 * 1001, 30000)  # three NTSC frames: no whole number of samples


def tone(rate_hz: int, num_samples: int) -> np.ndarray:
    return np.sin(2 * np.pi * 440 * np.arange(num_samples) / rate_hz).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [22_050, 24_000, 44_100])
@pytest.mark.parametrize("error", [0, 240, -240])
def test_a_track_is_resampled_and_keeps_its_duration_error(rate_hz, error):
    track = tone(rate_hz, round(DURATION_S * rate_hz) + error)
    resampled = at_metric_rate(track, rate_hz, DURATION_S)
    expected = round(DURATION_S * SAMPLE_RATE_HZ)
    assert len(resampled) - expected == round(error * SAMPLE_RATE_HZ / rate_hz)
    inner = slice(300, len(resampled) - 300)
    np.testing.assert_allclose(
        resampled[inner], tone(SAMPLE_RATE_HZ, len(resampled))[inner], atol=1e-3, rtol=0
    )


def test_a_track_at_the_metric_rate_is_returned_unchanged():
    track = tone(SAMPLE_RATE_HZ, 1600)
    assert at_metric_rate(track, SAMPLE_RATE_HZ, 0.1) is track
