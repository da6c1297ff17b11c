"""Level normalisation and trimming of tracks before recognition and speaker embedding.

Recognisers degrade on quiet recordings independently of the words; loudness has figures of its own.
"""

import numpy as np

from dualdub_jax.dsp.activity import frame_rms
from dualdub_jax.evaluation.analysis.audible import as_sound
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ

_FRAME = SAMPLE_RATE_HZ // 100
_SHORTEST = SAMPLE_RATE_HZ // 10  # no word is shorter than 0.1 s
_TARGET_RMS = 0.1  # of the whole returned part: -20 dBFS
_LOUD_PERCENTILE = 95  # of the frames' levels; robust to single clicks


def at_speech_level(track: np.ndarray, silence_dbfs: float = -75.0) -> np.ndarray | None:
    """Normalises the whole track to a root mean square of 0.1.

    Args:
        track: float[S] at 16 kHz; NaN counts as silence.
        silence_dbfs: minimum level of the loud frames (95th percentile of 10 ms frames).

    Returns:
        float32[S] in [-1, 1]; None if the track is shorter than 0.1 s or below `silence_dbfs`.
    """
    sound = as_sound(track)
    if len(sound) < _SHORTEST or _loud_level(sound) < 10 ** (silence_dbfs / 20):
        return None
    return np.clip(sound * (_TARGET_RMS / np.sqrt(np.mean(sound**2))), -1, 1).astype(np.float32)


def active_part(
    track: np.ndarray, threshold_db: float, margin_s: float, silence_dbfs: float = -75.0
) -> np.ndarray | None:
    """Trims the track to its active part and normalises it to a root mean square of 0.1.

    Args:
        track: float[S] at 16 kHz; NaN counts as silence.
        threshold_db: a frame is active if it lies within this of the loud ones (95th percentile).
        margin_s: kept on either side.
        silence_dbfs: see `at_speech_level`.

    Returns:
        float32[S'] in [-1, 1], None where `at_speech_level` returns None.
    """
    sound = as_sound(track)
    if len(sound) < _SHORTEST:
        return None
    active = np.flatnonzero(frame_rms(sound, _FRAME) >= _loud_level(sound) * 10 ** (-threshold_db / 20))
    margin = round(margin_s * SAMPLE_RATE_HZ)
    start, end = active[0] * _FRAME - margin, (active[-1] + 1) * _FRAME + margin
    return at_speech_level(sound[max(start, 0) : end], silence_dbfs)


def _loud_level(sound: np.ndarray) -> float:
    return float(np.percentile(frame_rms(sound, _FRAME), _LOUD_PERCENTILE))
