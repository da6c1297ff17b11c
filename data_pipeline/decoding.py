"""Encoded media of a record to arrays on the time grid: H.264 to frames, FLAC to samples.

Everything that is wrong with the bytes is a `ValueError` saying what; the caller knows which clip it is.
"""

import io
from fractions import Fraction

import numpy as np
import soundfile

from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.record_video import decode_frames


def decode_video(
    data: bytes, *, start_frame: int, num_frames: int, frame_rate_hz: int, frame_size: int
) -> np.ndarray:
    """Decodes frames onto the grid by presentation time, whatever the film's own rate, constant or not.

    Grid frame t shows what is on screen in the middle of [t, t + 1) / frame_rate_hz: at equal rates that is
    the film's frame t even where the container rounds its times. Time zero is the film's first frame.

    Args:
        data: an encoded video file.
        start_frame: the first grid frame to return.
        num_frames: how many grid frames to return.
        frame_rate_hz: rate of the grid.
        frame_size: height and width of the result, pixels.

    Returns:
        uint8[num_frames, frame_size, frame_size, 3], RGB.

    Raises:
        ValueError: not a video, no frames in it, or it ends before the frames asked for.
    """
    spec = FrameSpec(Fraction(frame_rate_hz), frame_size)
    return decode_frames(data, spec, start_frame, num_frames)


def decode_audio(data: bytes, *, sample_rate_hz: int) -> np.ndarray:
    """Decodes mono audio.

    Args:
        data: an encoded audio file (FLAC in our records).
        sample_rate_hz: the rate that it must have: stems are stored at the grid's rate.

    Returns:
        float32[S] in [-1, 1].

    Raises:
        ValueError: not audio, not mono, or at another rate.
    """
    try:
        samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise ValueError(f"cannot be decoded: {error}") from error
    if rate_hz != sample_rate_hz or samples.shape[1] != 1:
        raise ValueError(
            f"has {samples.shape[1]} channels at {rate_hz} Hz, expected 1 channel at {sample_rate_hz} Hz"
        )
    return samples[:, 0]
