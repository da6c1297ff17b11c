"""Loudness, true peak, clipping and silence of a finished track, measured in blocks.

Source: loudness and true peak by ITU-R BS.1770-4; flat tops and silence, our choice.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from dualdub_jax.dsp import true_peak
from dualdub_jax.dsp.activity import FRAME_S, levels_dbfs
from dualdub_jax.dsp.loudness import LoudnessMeter
from dualdub_jax.media.track import Samples, as_mono

LEAST_SILENCE_S = 1.0
BLOCK_S = 10  # a whole number of frames of 10 ms at every rate
_LEAST_FLAT_SAMPLES = 4
_LEAST_FLAT_LEVEL = 0.25  # -12 dBFS; the tops of softer waves are flat by their 16 bits alone

Span = tuple[float, float]  # seconds


@dataclasses.dataclass(frozen=True)
class TrackFigures:
    """What is measured of one track.

    Attributes:
        loudness_lufs: integrated; None: silent (below -70 LUFS), or shorter than 0.4 s.
        true_peak_dbtp: of four times the samples; None: every sample is zero.
        num_clipped: samples in flat tops, which are four or more equal samples at the track's peak.
        levels_dbfs: float64[N], of every 10 ms.
    """

    loudness_lufs: float | None
    true_peak_dbtp: float | None
    num_clipped: int
    levels_dbfs: np.ndarray

    def describe(self) -> dict[str, Any]:
        """Plain JSON values, for receipts."""
        return {
            "loudness_lufs": self.loudness_lufs,
            "true_peak_dbtp": self.true_peak_dbtp,
            "num_clipped": self.num_clipped,
        }

    def silences(self, threshold_dbfs: float, start_s: float, end_s: float) -> Iterator[Span]:
        """Stretches of `LEAST_SILENCE_S` and more that are below a level, within a part of the track."""
        first, end = round(start_s / FRAME_S), round(end_s / FRAME_S)
        is_silent = np.pad(self.levels_dbfs[first:end] < threshold_dbfs, 1)
        edges = np.flatnonzero(np.diff(is_silent.astype(np.int8)))
        for begin, stop in zip(edges[::2], edges[1::2], strict=True):
            if (stop - begin) * FRAME_S >= LEAST_SILENCE_S:
                yield (first + int(begin)) * FRAME_S, (first + int(stop)) * FRAME_S


def measure_track(track: Samples, sample_rate_hz: int) -> TrackFigures:
    """Measures a track; memory grows with its length by eight bytes every 10 ms.

    Args:
        track: float32[S], or [S, 2] in stereo.
        sample_rate_hz: of the track.
    """
    num_channels = 1 if track[:0].ndim == 1 else track[:0].shape[1]
    meter = LoudnessMeter(sample_rate_hz, num_channels)
    flat_tops = _FlatTops()
    levels, peak = [np.zeros(0)], 0.0
    size, halo = BLOCK_S * sample_rate_hz, true_peak.HALO
    for first in range(0, len(track), size):
        end = min(first + size, len(track))
        start, stop = max(0, first - halo), min(end + halo, len(track))
        around = track[start:stop]
        block = around[first - start : end - start]
        meter.push(block)
        flat_tops.push(block)
        levels.append(levels_dbfs(as_mono(block), sample_rate_hz))
        missing = (halo - (first - start), halo - (stop - end))
        padded = np.pad(around, [missing] + [(0, 0)] * (around.ndim - 1))
        peak = max(peak, float(true_peak.local_peaks(padded).max(initial=0.0)))
    return TrackFigures(
        meter.integrated_lufs,
        true_peak.amplitude_db(peak) if peak else None,
        flat_tops.num_samples,
        np.concatenate(levels),
    )


class _FlatTops:
    """Counts the samples in flat tops at the highest level so far; those across two blocks in parts."""

    def __init__(self) -> None:
        self._peak, self.num_samples = _LEAST_FLAT_LEVEL, 0

    def push(self, block: np.ndarray) -> None:
        heights = np.abs(block.reshape(len(block), -1))
        peak = float(heights.max(initial=0.0))
        if peak < self._peak:
            return
        if peak > self._peak:
            self._peak, self.num_samples = peak, 0
        for channel in np.sign(block.reshape(len(block), -1).T) * (peak <= heights.T):
            # Runs of +1 or of -1.
            edges = np.flatnonzero(np.diff(channel, prepend=np.nan, append=np.nan) != 0)
            lengths = np.diff(edges)
            is_top = channel[edges[:-1]] != 0
            self.num_samples += int(lengths[is_top & (lengths >= _LEAST_FLAT_SAMPLES)].sum())
