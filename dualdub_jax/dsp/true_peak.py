"""True peaks: the highest values of a waveform, between its samples too.

Four times the samples are interpolated, as ITU-R BS.1770-4 (annex 2) asks, by a windowed sinc of finite
support: parts of a signal are measured exactly as the whole. Source: the standard; its filter is shorter
than ours.
"""

import functools
import math

import numpy as np

HALO = 17  # samples needed on both sides of those that are measured
_FACTOR = 4
_ZERO_CROSSINGS = 16
_KAISER_BETA = 9.0


def local_peaks(samples: np.ndarray) -> np.ndarray:
    """The highest absolute value within less than one sample of each sample.

    Args:
        samples: float[HALO + n + HALO], or float[HALO + n + HALO, channels].

    Returns:
        float64[n], the maximum of all channels.
    """
    num_samples = len(samples) - 2 * HALO
    values = np.abs(interpolate(samples)).max(axis=1)
    # Sample i of `samples` is value 4 i; here the three points before it come first.
    first = _FACTOR * HALO - (_FACTOR - 1)
    near = np.lib.stride_tricks.sliding_window_view(values[first:], 2 * _FACTOR - 1)[::_FACTOR]
    return near[:num_samples].max(axis=1)


def interpolate(samples: np.ndarray) -> np.ndarray:
    """The waveform at four times the rate; beyond its ends are zeros.

    Args:
        samples: float[n], or float[n, channels].

    Returns:
        float64[4 n + 61, channels]; value 4 i is that of sample i.
    """
    import scipy.signal  # takes a while, and not every mix is measured

    channels = np.asarray(samples, np.float64).reshape(len(samples), -1)
    return scipy.signal.upfirdn(_taps(), channels, up=_FACTOR, axis=0)[_FACTOR * _ZERO_CROSSINGS :]


def true_peak_dbtp(samples: np.ndarray) -> float:
    """The true peak of a whole signal, float[S] or float[S, channels]; dB full scale, at least -200."""
    if not len(samples):
        return -200.0
    padded = np.pad(samples, [(HALO, HALO)] + [(0, 0)] * (samples.ndim - 1))
    return amplitude_db(float(local_peaks(padded).max()))


def amplitude_db(amplitude: float) -> float:
    """Decibels of an amplitude, at least -200."""
    return 20.0 * math.log10(max(amplitude, 1e-10))


@functools.cache
def most_overshoot() -> float:
    """The factor by which interpolated values can exceed the samples that they are interpolated from."""
    phases = [np.abs(_taps()[phase::_FACTOR]).sum() for phase in range(_FACTOR)]
    return float(max(phases))


@functools.cache
def _taps() -> np.ndarray:
    """float64[2 * 4 * 16 + 1]; samples themselves are kept."""
    places = np.arange(-_FACTOR * _ZERO_CROSSINGS, _FACTOR * _ZERO_CROSSINGS + 1)
    return np.sinc(places / _FACTOR) * np.kaiser(len(places), _KAISER_BETA)
