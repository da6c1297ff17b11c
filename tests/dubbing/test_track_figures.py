"""Loudness, true peak, clipping and silence of tracks in blocks."""

import numpy as np
import pyloudnorm
import pytest

from dualdub_jax.dubbing import track_figures
from dualdub_jax.dubbing.track_figures import measure_track


def _noise(seconds: float, rate_hz: int, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (round(seconds * rate_hz), channels) if channels > 1 else round(seconds * rate_hz)
    return (0.1 * rng.standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, 1), (44_100, 2), (48_000, 1)])
def test_loudness_is_that_of_the_standard_whatever_the_blocks(monkeypatch, rate_hz, channels):
    track = _noise(3.7, rate_hz, channels)
    track[rate_hz : 2 * rate_hz] *= 4
    expected = pyloudnorm.Meter(rate_hz).integrated_loudness(track.astype(np.float64))
    monkeypatch.setattr(track_figures, "BLOCK_S", 1)
    assert measure_track(track, rate_hz).loudness_lufs == pytest.approx(expected, abs=0.01)


def test_peak_between_samples(monkeypatch):
    """A sine at a quarter of the sample rate whose samples all miss its tops, 3 dB above them."""
    track = (0.5 * np.sin(np.pi / 2 * np.arange(16_000) + np.pi / 4)).astype(np.float32)
    whole = measure_track(track, 8_000).true_peak_dbtp
    assert whole == pytest.approx(20 * np.log10(0.5), abs=0.15)
    monkeypatch.setattr(track_figures, "BLOCK_S", 1)
    assert measure_track(track, 8_000).true_peak_dbtp == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize("gain", [2.0, 8.0])
def test_flat_tops_are_clipped_samples(gain):
    sine = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    clipped = np.clip(gain * sine, -1, 1)
    found = measure_track((0.9 * clipped).astype(np.float32), 16_000).num_clipped
    # Tops of fewer than four samples are not counted.
    assert 0.8 * np.sum(np.abs(clipped) == 1) <= found <= np.sum(np.abs(clipped) == 1)
    assert measure_track((0.9 * sine).astype(np.float32), 16_000).num_clipped == 0


def test_clipping_of_one_channel_is_found():
    tops = np.clip(3 * np.sin(np.arange(16_000) / 9), -0.9, 0.9)
    track = np.stack([_noise(1, 16_000), tops], axis=1).astype(np.float32)
    assert measure_track(track, 16_000).num_clipped > 100


def test_a_pulse_below_the_peak_and_16_bit_steps_are_not_clipping():
    track = np.round(0.05 * np.sin(np.arange(32_000) / 300) * 32768) / 32768
    track[5_000:5_100] = 0.04
    assert measure_track(track.astype(np.float32), 16_000).num_clipped == 0


def test_silence_is_found_where_it_is_long_enough(monkeypatch):
    monkeypatch.setattr(track_figures, "BLOCK_S", 2)
    track = _noise(8, 16_000)
    track[round(1.5 * 16_000) : 3 * 16_000] = 0  # across a border of two blocks
    track[5 * 16_000 : round(5.9 * 16_000)] = 0  # too short
    figures = measure_track(track, 16_000)
    assert list(figures.silences(-80, 0, 8)) == [(pytest.approx(1.5), pytest.approx(3.0))]
    assert list(figures.silences(-80, 2.5, 8)) == []


@pytest.mark.parametrize("num_samples", [0, 100, 16_000])
def test_a_silent_or_short_track_has_no_loudness(num_samples):
    figures = measure_track(np.zeros(num_samples, np.float32), 16_000)
    assert figures.loudness_lufs is None and figures.true_peak_dbtp is None and figures.num_clipped == 0
