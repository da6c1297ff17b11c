"""Preconditions of signal metrics: finite samples, silence, frame levels."""

import numpy as np

SILENCE_DBFS = -90.0  # root mean square; below one step of 16-bit samples


def as_sound(track: np.ndarray) -> np.ndarray:
    """The track as float64[S], with NaN and infinity replaced by 0.

    A model with non-finite output is thereby scored as silent there, instead of being excluded from the mean.
    """
    return np.nan_to_num(np.asarray(track, np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def is_silent(sound: np.ndarray) -> bool:
    """Whether float64[S] is empty or has a root mean square below `SILENCE_DBFS`."""
    return not len(sound) or float(np.sqrt(np.mean(sound**2))) < 10 ** (SILENCE_DBFS / 20)


def frame_levels_dbfs(sound: np.ndarray, frame_length: int, hop_length: int) -> np.ndarray:
    """Root mean square level of frames centred on every hop, as in `librosa` and WORLD.

    Args:
        sound: float64[S].
        frame_length: samples.
        hop_length: samples.

    Returns:
        float64[S // hop_length + 1], dBFS, at least -120.
    """
    power = np.concatenate([[0.0], np.cumsum(sound**2)])
    centre = np.arange(len(sound) // hop_length + 1) * hop_length
    start = np.maximum(centre - frame_length // 2, 0)
    end = np.minimum(centre + frame_length - frame_length // 2, len(sound))
    mean = np.maximum(power[end] - power[start], 0) / frame_length
    return 10 * np.log10(np.maximum(mean, 1e-12))
