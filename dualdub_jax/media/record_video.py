"""Frames of a clip that is stored as bytes in a training record: few of them, fast.

Time, rotation, pixel aspect ratio and fit are those of `frames`, so that training and dubbing see the same
pixels. Unlike `FilmReader`, it stops decoding at the last requested frame, and reports defects as
`ValueError`; the caller knows which clip it is.
"""

import io
from fractions import Fraction

import av
import numpy as np

from dualdub_jax.media.container import find_video_stream
from dualdub_jax.media.frames import FrameFitter, FrameSpec, frames_before

# How long the last picture of a film may stand in for missing ones before the film counts as too short.
_MAX_HELD_S = 0.2


def decode_frames(data: bytes, spec: FrameSpec, start_frame: int, num_frames: int) -> np.ndarray:
    """Decodes frames of a clip by presentation time, whatever its own rate, constant or not.

    Args:
        data: an encoded video file.
        spec: rate, size and fit of the frames. Time zero is the clip's first picture.
        start_frame: the first frame to return.
        num_frames: how many frames to return.

    Returns:
        uint8[num_frames, size, size, 3], RGB.

    Raises:
        ValueError: not a video, no pictures in it, one without a presentation time, or it ends before the
            requested frames.
    """
    frames = np.zeros((num_frames, spec.frame_size, spec.frame_size, 3), np.uint8)
    filled = 0
    shown: av.VideoFrame | None = None
    try:
        with av.open(io.BytesIO(data)) as container:
            stream = find_video_stream(container)
            if stream is None:
                raise ValueError("has no video stream")
            # Clips are decoded side by side already: threads of a decoder or scaler only cost their start.
            stream.codec_context.thread_count = 1
            fitter = FrameFitter(spec, Fraction(stream.sample_aspect_ratio or 1), num_threads=1)
            for picture in container.decode(stream):
                if picture.pts is None:
                    raise ValueError("has frames without a presentation time")
                if shown is None:
                    first_pts, time_base = picture.pts, picture.time_base
                    frames_per_tick = time_base * spec.frame_rate
                else:
                    passed = frames_before(frames_per_tick, picture.pts - first_pts) - start_frame
                    if min(passed, num_frames) > filled:
                        frames[filled : min(passed, num_frames)] = fitter.fit(shown)
                        filled = min(passed, num_frames)
                shown = picture
                if filled == num_frames:
                    return frames
    except av.error.FFmpegError as error:
        raise ValueError(f"cannot be decoded: {error.strerror}") from error
    if shown is None:
        raise ValueError("has no frames")
    film_s = float((shown.pts - first_pts + (shown.duration or 0)) * time_base)
    end_s = float((start_frame + num_frames) / spec.frame_rate)
    if film_s + _MAX_HELD_S < end_s:
        raise ValueError(f"ends at {film_s:.2f} s, but the clip lasts until {end_s:.2f} s")
    frames[filled:] = fitter.fit(shown)
    return frames
