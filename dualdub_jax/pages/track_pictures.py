"""Pictures of a track for pages: its waveform as SVG, its mel spectrogram as pixels."""

import itertools
from typing import Protocol

import numpy as np

from dualdub_jax.dsp.mel import mel_filterbank

MAX_COLUMNS = 1200
N_MELS = 80
_N_FFT = 1024
_RANGE_DB = 70.0  # from the loudest band downwards
_LOUDEST_DB = -40.0  # a track whose loudest band is below this is shown as quiet
# Black, violet, red, orange, pale yellow: rising evenly in lightness, so that louder is brighter.
_COLOURS = np.array([(8, 6, 20), (72, 24, 106), (166, 46, 98), (236, 104, 58), (250, 232, 168)], float)


class Samples(Protocol):
    """A mono signal float32[S] that is read in slices: an array, or a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> np.ndarray: ...


def waveform_svg(track: Samples) -> str | None:
    """An SVG of the track's extremes, column by column, in the colour of the surrounding text.

    Args:
        track: float32[S], S at least 1.

    Returns:
        The element; None if every sample is zero.
    """
    edges = np.linspace(0, len(track), min(MAX_COLUMNS, len(track)) + 1).astype(int)
    columns = (track[first:end] for first, end in itertools.pairwise(edges))
    low, high = np.array([(column.min(), column.max()) for column in columns]).T
    if not high.any() and not low.any():
        return None
    top = max(0.1, float(max(high.max(), -low.min())))
    points = [f"{x},{50 - 48 * y / top:.1f}" for x, y in enumerate(high)]
    points += [f"{x},{50 - 48 * y / top + 0.4:.1f}" for x, y in reversed(list(enumerate(low)))]
    return (
        f'<svg viewBox="0 0 {len(high)} 100" preserveAspectRatio="none" role="img" aria-label="waveform">'
        f'<polygon fill="currentColor" points="{" ".join(points)}"/></svg>'
    )


def mel_levels_db(track: Samples, rate_hz: int, num_columns: int | None = None) -> np.ndarray:
    """Band levels over time.

    Args:
        track: float32[S].
        rate_hz: of `track`.
        num_columns: None: as many as the track has 80 samples, at most `MAX_COLUMNS`.

    Returns:
        float[columns, N_MELS], dB of a full-scale sine; a column is the middle of its part of the track.
    """
    if num_columns is None:
        num_columns = min(MAX_COLUMNS, max(1, len(track) // 80))
    centres = ((np.arange(num_columns) + 0.5) * len(track) / num_columns).astype(int)
    window = np.hanning(_N_FFT).astype(np.float32)
    bands = mel_filterbank(N_MELS, _N_FFT, rate_hz)
    frames = np.stack([_frame(track, centre) for centre in centres]) * window
    spectrum = np.abs(np.fft.rfft(frames, axis=1)) * (2.0 / window.sum())
    return 20.0 * np.log10(np.maximum(spectrum @ bands, 1e-7))


def _frame(track: Samples, centre: int) -> np.ndarray:
    """float32[_N_FFT] around a sample; beyond the ends are zeros."""
    first, end = centre - _N_FFT // 2, centre + _N_FFT // 2
    inside = np.asarray(track[max(0, first) : end], np.float32)
    return np.pad(inside, (max(0, -first), _N_FFT - max(0, -first) - len(inside)))


def paint_spectrogram(levels_db: np.ndarray, top_db: float | None = None) -> np.ndarray:
    """Colours band levels, low frequencies at the bottom.

    Args:
        levels_db: float[columns, bands].
        top_db: the level that is brightest, the same for pictures that are to be compared; None: the
            loudest here.

    Returns:
        uint8[bands, columns, 3], RGB.
    """
    if top_db is None:
        top_db = float(levels_db.max())
    levels = ((levels_db - max(_LOUDEST_DB, top_db)) / _RANGE_DB + 1.0).clip(0.0, 1.0)
    position = levels.T[::-1] * (len(_COLOURS) - 1)
    index = np.minimum(position.astype(int), len(_COLOURS) - 2)
    fraction = (position - index)[..., None]
    picture = _COLOURS[index] * (1 - fraction) + _COLOURS[index + 1] * fraction
    return np.ascontiguousarray(picture.round().astype(np.uint8))
