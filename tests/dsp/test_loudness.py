"""Loudness in blocks is that of pyloudnorm, true peaks are those of an ideal interpolation, limits hold."""

import numpy as np
import pyloudnorm
import pytest
import scipy.signal

from dualdub_jax.dsp.limiter import Limiter
from dualdub_jax.dsp.loudness import LoudnessMeter, integrated_lufs
from dualdub_jax.dsp.true_peak import HALO, local_peaks, true_peak_dbtp

RNG = np.random.default_rng(0)


def swells(rate_hz: int, seconds: float = 7.3) -> np.ndarray:
    """Noise from silent to loud, so that both gates are at work."""
    num_samples = int(rate_hz * seconds)
    return RNG.normal(0, 0.2, num_samples) * np.linspace(0, 1, num_samples) ** 3


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("gains", [(1.0,), (1.0, 0.3)])
def test_loudness_is_that_of_pyloudnorm(rate_hz, gains):
    samples = np.stack([gain * swells(rate_hz) for gain in gains], axis=1)
    expected = pyloudnorm.Meter(rate_hz).integrated_loudness(samples)
    meter = LoudnessMeter(rate_hz, len(gains))
    for block in np.split(samples, [1, 1, 777, 30_000]):
        meter.push(block)
    assert meter.integrated_lufs == pytest.approx(expected, abs=0.01)
    if len(gains) == 1:
        assert integrated_lufs(samples[:, 0], rate_hz) == pytest.approx(expected, abs=0.01)


def test_a_full_scale_tone_has_its_level():
    tone = np.sin(2 * np.pi * 997 * np.arange(48_000) / 48_000)
    assert integrated_lufs(tone, 48_000) == pytest.approx(-3.01, abs=0.06)


def test_silence_and_less_than_a_block_have_no_loudness():
    assert integrated_lufs(np.zeros(48_000), 48_000) is None
    assert integrated_lufs(swells(48_000, 0.399), 48_000) is None
    assert integrated_lufs(np.zeros(0), 48_000) is None
    assert integrated_lufs(RNG.normal(0, 0.1, 19_200), 48_000) is not None


def test_peaks_between_samples_are_found():
    places = np.arange(2_000)
    tone = 0.5 * np.sin(2 * np.pi * places / 4 + np.pi / 4) * np.hanning(2_000)
    assert np.abs(tone).max() < 0.36
    assert true_peak_dbtp(tone) == pytest.approx(20 * np.log10(0.5), abs=0.02)
    assert true_peak_dbtp(np.stack([0 * tone, tone], axis=1)) == true_peak_dbtp(tone)
    assert true_peak_dbtp(np.zeros(10)) == true_peak_dbtp(np.zeros(0)) == -200


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_true_peaks_are_those_of_another_interpolation(rate_hz):
    speechlike = scipy.signal.lfilter([1], [1, -0.9], RNG.normal(0, 0.1, rate_hz))
    other = 20 * np.log10(np.abs(scipy.signal.resample_poly(speechlike, 4, 1)).max())
    assert true_peak_dbtp(speechlike) == pytest.approx(other, abs=0.1)


def test_parts_are_measured_as_the_whole():
    samples = RNG.normal(0, 0.1, 3_000)
    whole = local_peaks(np.pad(samples, HALO))
    part = local_peaks(samples[1_000 - HALO : 2_000 + HALO])
    np.testing.assert_allclose(part, whole[1_000:2_000], rtol=1e-12)
    assert len(whole) == len(samples) and (whole >= np.abs(samples) - 1e-12).all()


@pytest.mark.parametrize("num_channels", [1, 2])
def test_the_limiter_limits_true_peaks_and_nothing_else(num_channels):
    samples = RNG.uniform(-0.3, 0.3, (16_000, num_channels))
    samples[6_000:6_100] *= 8
    limiter = Limiter(0.9, 16_000)
    gains = limiter.gains(np.pad(samples, [(limiter.halo, limiter.halo), (0, 0)]))
    limited = samples * gains[:, None]
    assert true_peak_dbtp(limited) <= 20 * np.log10(0.9) + 0.01
    assert (gains[:5_000] == 1).all() and (gains[7_000:] == 1).all() and gains.min() < 0.8
    assert np.abs(np.diff(gains)).max() < 0.01  # smooth: no clicks


def test_the_limiter_gives_parts_the_gains_of_the_whole():
    samples = RNG.standard_normal(8_000)
    limiter = Limiter(0.5, 16_000)
    padded = np.pad(samples, limiter.halo)
    part = limiter.gains(padded[3_000 : 5_000 + 2 * limiter.halo])
    np.testing.assert_allclose(part, limiter.gains(padded)[3_000:5_000], rtol=1e-9)


def test_what_is_below_the_ceiling_is_left_alone():
    limiter = Limiter(0.9, 16_000)
    quiet = 0.85 * np.sin(np.arange(4_000) / 20)
    assert (limiter.gains(quiet) == 1).all()
