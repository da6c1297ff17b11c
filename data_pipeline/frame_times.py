"""Seconds to frames: how many a clip has, and which row of a sequence is nearest to each."""

import math
from fractions import Fraction

import numpy as np

_TOLERANCE = 1e-2  # of a frame: TFDS stores seconds in single precision, and n frames must stay n


def num_frames_of(duration_s: float, frame_rate: Fraction) -> int:
    """Frames that a clip touches, at least one."""
    return max(math.ceil(duration_s * float(frame_rate) - _TOLERANCE), 1)


def nearest_rows(
    num_rows: int, rate: Fraction, frame_rate: Fraction, start_frame: int, num_frames: int
) -> np.ndarray:
    """The row of a sequence that is nearest in time to each grid frame.

    Args:
        num_rows: length of the sequence; row f covers [f, f + 1) / rate seconds.
        rate: rows a second.
        frame_rate: grid frames a second.
        start_frame: the first grid frame.
        num_frames: how many grid frames.

    Returns:
        int64[num_frames], the row that covers the middle of each frame, the last one beyond the end.
    """
    middles = [Fraction(2 * t + 1, 2) / frame_rate for t in range(start_frame, start_frame + num_frames)]
    return np.array([min(int(middle * rate), num_rows - 1) for middle in middles], np.int64)
