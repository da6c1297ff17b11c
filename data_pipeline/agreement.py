"""How well sound and picture agree in time: onsets of the sound against motion of the picture."""

from fractions import Fraction

import numpy as np

from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.record_video import decode_frames

_SPEC = FrameSpec(Fraction(25), 32)
_FLOOR_DBFS = -60.0
_TOLERANCE = 1  # frames
MIN_FRAMES = 10


def agreement(video: bytes, sound: np.ndarray, sample_rate_hz: int, duration_s: float) -> float | None:
    """Correlation of the rises of a sound's level with the motion of the picture, in frames of 40 ms.

    Each is widened by a frame on both sides, since sound arrives a little after the picture.

    Args:
        video: an encoded film.
        sound: float32[S], as long as the film.
        sample_rate_hz: of the sound.
        duration_s: length of both.

    Returns:
        In [-1, 1]; None where it means nothing: a short clip, a still picture, or a sound without onsets.

    Raises:
        ValueError: a film that cannot be decoded.

    Source: our choice; after AV-Align (Yariv et al., 2024), which counts peaks of both.
    """
    num_frames = int(duration_s * float(_SPEC.frame_rate))
    if num_frames < MIN_FRAMES:
        return None
    motion = _motion(decode_frames(video, _SPEC, 0, num_frames))
    onsets = _onsets(sound, sample_rate_hz, num_frames)
    motion, onsets = _widened(motion), _widened(onsets)
    if motion.std() < 1e-3 or onsets.std() < 1e-3:
        return None
    return float(np.corrcoef(motion, onsets)[0, 1])


def _motion(frames: np.ndarray) -> np.ndarray:
    """Mean change of brightness since the frame before, float64[T]; a change of shot counts as the others."""
    grey = frames.astype(np.float64).mean(axis=-1)
    change = np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2))
    return np.concatenate([[0.0], np.minimum(change, 4 * np.median(change) + 1)])


def _onsets(sound: np.ndarray, sample_rate_hz: int, num_frames: int) -> np.ndarray:
    """Rise of the level since the frame before, dB, float64[T]."""
    edges = (np.arange(num_frames + 1) / float(_SPEC.frame_rate) * sample_rate_hz).astype(int)
    energy = np.add.reduceat(np.square(np.append(sound, 0.0), dtype=np.float64), edges[:-1])
    level_db = np.maximum(10 * np.log10(energy / np.maximum(np.diff(edges), 1) + 1e-12), _FLOOR_DBFS)
    return np.maximum(np.diff(level_db, prepend=level_db[0]), 0.0)


def _widened(values: np.ndarray) -> np.ndarray:
    padded = np.pad(values, _TOLERANCE, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * _TOLERANCE + 1).max(axis=-1)
