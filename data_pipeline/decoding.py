"""Encoded media of a record to arrays on the time grid: H.264 to frames, FLAC to samples.

Everything that is wrong with the bytes is a `ValueError` saying what; the caller knows which clip it is.
"""

import io
from fractions import Fraction

import av
import numpy as np
import soundfile
from av.video.reformatter import Interpolation, VideoReformatter

# How long the last frame of a film may stand in for missing ones before the film counts as too short.
_MAX_HELD_S = 0.2


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
    images = np.zeros((num_frames, frame_size, frame_size, 3), np.uint8)
    # One reformatter for all frames: to set its scaler up anew for each costs a third of the whole.
    reformatter = VideoReformatter()

    def show(frame: av.VideoFrame, first: int, until: int) -> None:
        scale = frame_size / max(frame.width, frame.height)
        width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
        top, left = (frame_size - height) // 2, (frame_size - width) // 2
        # One thread: a scaler of several waits for all of them at every frame, on cores that are in use.
        small = reformatter.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.AREA, threads=1
        )
        images[first:until, top : top + height, left : left + width] = small.to_ndarray()

    filled = 0
    shown: av.VideoFrame | None = None
    first_pts = 0
    try:
        with av.open(io.BytesIO(data)) as container:
            if not container.streams.video:
                raise ValueError("has no video stream")
            stream = container.streams.video[0]
            # Clips are decoded side by side already; a decoder's own threads only cost their start.
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                if frame.pts is None:
                    raise ValueError("has frames without a presentation time")
                if shown is None:
                    first_pts = frame.pts
                    time_base = frame.time_base
                else:
                    until = _num_passed(frame.pts - first_pts, time_base * frame_rate_hz) - start_frame
                    until = min(until, num_frames)
                    if until > filled:
                        show(shown, filled, until)
                        filled = until
                shown = frame
                if filled == num_frames:
                    return images
    except av.error.FFmpegError as error:
        raise ValueError(f"cannot be decoded: {error.strerror}") from error
    if shown is None:
        raise ValueError("has no frames")
    film_s = float((shown.pts - first_pts + (shown.duration or 0)) * time_base)
    end_s = (start_frame + num_frames) / frame_rate_hz
    if film_s + _MAX_HELD_S < end_s:
        raise ValueError(f"ends at {film_s:.2f} s, but the clip lasts until {end_s:.2f} s")
    show(shown, filled, num_frames)
    return images


def _num_passed(pts: int, frames_per_tick: Fraction) -> int:
    """How many grid frames have their middle before `pts`.

    In whole numbers, so that a time right in the middle of a grid frame does not waver.
    """
    ticks, frames = frames_per_tick.denominator, frames_per_tick.numerator
    return -((ticks - 2 * pts * frames) // (2 * ticks))


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
