"""Jumps of level and spectrum at the seams of a track, beside those elsewhere in it.

A seam is inaudible if what happens at it happens elsewhere as well. Source: our choice.
"""

from collections.abc import Sequence

import numpy as np
import scipy.signal

_FRAME_S, _HOP_S = 0.02, 0.01
_NEAR_S = 0.06  # around a seam, and half the length of the stretches that it is compared with
_FAR_S = 0.2  # around a seam, where no stretch lies that it is compared with


def jumps(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Jumps between consecutive frames of 20 ms, every 10 ms.

    Args:
        samples: float[S].
        sample_rate_hz: of the samples.

    Returns:
        float64[N, 2], for each frame but the first: change of level, dB; and spectral flux, the root mean
        square change of the log spectrum, dB.
    """
    length, hop = (round(seconds * sample_rate_hz) for seconds in (_FRAME_S, _HOP_S))
    _, _, spectrum = scipy.signal.stft(
        samples, nperseg=length, noverlap=length - hop, boundary=None, padded=False
    )
    power = np.square(np.abs(spectrum)).T + 1e-12  # float64[N + 1, frequencies]; -120 dB full scale
    level = 10 * np.log10(power.sum(axis=1))
    flux = np.sqrt(np.mean(np.square(np.diff(10 * np.log10(power), axis=0)), axis=1))
    return np.stack([np.abs(np.diff(level)), flux], axis=1)


def seam_ranks(samples: np.ndarray, sample_rate_hz: int, seams_s: Sequence[float]) -> np.ndarray:
    """The rank of the largest jump at each seam among those of stretches elsewhere.

    Args:
        samples: float[S].
        sample_rate_hz: of the samples.
        seams_s: seconds from the first sample.

    Returns:
        float64[number of seams, 2], of level and flux: the share of stretches with a smaller jump, 0 to 1.
        On average 0.5 if a seam is like any other place.
    """
    found = jumps(np.asarray(samples, np.float64), sample_rate_hz)
    time_s = _FRAME_S / 2 + _HOP_S * (np.arange(len(found)) + 0.5)  # between the middles of two frames
    width = round(2 * _NEAR_S / _HOP_S)
    starts = np.arange(0, len(found) - width + 1, width)
    middle_s = time_s[starts] + (width - 1) / 2 * _HOP_S
    is_far = np.all(np.abs(middle_s[:, None] - np.asarray(seams_s)[None]) > _FAR_S, axis=1)
    elsewhere = np.stack([found[start : start + width].max(axis=0) for start in starts[is_far]])
    at_seams = [found[np.abs(time_s - seam_s) <= _NEAR_S].max(axis=0) for seam_s in seams_s]
    return np.stack([np.mean(elsewhere < at_seam, axis=0) for at_seam in at_seams])
