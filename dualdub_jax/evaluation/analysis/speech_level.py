"""Brings tracks to one loudness before a recogniser hears them, and finds the part that holds sound.

Recognisers are trained on speech of ordinary level and stumble over faint recordings, which says nothing of
the words; how loud a track is has figures of its own.
"""

import numpy as np

from dualdub_jax.evaluation.analysis.audible import as_sound
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ

_FRAME = SAMPLE_RATE_HZ // 100
_SHORTEST = SAMPLE_RATE_HZ // 10  # no word is shorter than 0.1 s
_TARGET_RMS = 0.1  # of the whole part that is returned: -20 dB of full scale
_LOUD_PERCENTILE = 95  # of the frames' levels: a click alone is not what a track's level is taken from


def at_speech_level(track: np.ndarray, silence_dbfs: float = -75.0) -> np.ndarray | None:
    """The whole track with a root mean square of 0.1.

    Args:
        track: float[S]; holes (NaN) count as silence.
        silence_dbfs: what a track's loud frames (95th percentile of 10 ms frames) have to reach.

    Returns:
        float32[S] in [-1, 1]; None if it is shorter than 0.1 s or nothing can be heard in it.
    """
    sound = as_sound(track)
    if len(sound) < _SHORTEST or _loud_level(sound) < 10 ** (silence_dbfs / 20):
        return None
    return np.clip(sound * (_TARGET_RMS / np.sqrt(np.mean(sound**2))), -1, 1).astype(np.float32)


def active_part(
    track: np.ndarray, threshold_db: float, margin_s: float, silence_dbfs: float = -75.0
) -> np.ndarray | None:
    """The track from its first to its last active frame, with a root mean square of 0.1.

    Args:
        track: float[S]; holes (NaN) count as silence.
        threshold_db: frames are active within this of the loud ones (95th percentile).
        margin_s: that stays on either side.
        silence_dbfs: see `at_speech_level`.

    Returns:
        float32[S'] in [-1, 1], None where `at_speech_level` returns None.
    """
    sound = as_sound(track)
    if len(sound) < _SHORTEST:
        return None
    active = np.flatnonzero(_frame_levels(sound) >= _loud_level(sound) * 10 ** (-threshold_db / 20))
    margin = round(margin_s * SAMPLE_RATE_HZ)
    start, end = active[0] * _FRAME - margin, (active[-1] + 1) * _FRAME + margin
    return at_speech_level(sound[max(start, 0) : end], silence_dbfs)


def _frame_levels(sound: np.ndarray) -> np.ndarray:
    """float64[S // 160]: root mean squares."""
    frames = sound[: len(sound) // _FRAME * _FRAME].reshape(-1, _FRAME)
    return np.sqrt(np.mean(frames**2, axis=1))


def _loud_level(sound: np.ndarray) -> float:
    return float(np.percentile(_frame_levels(sound), _LOUD_PERCENTILE))
