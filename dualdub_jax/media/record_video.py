"""Frames of a clip that is stored as bytes in a training record: few of them, fast.

Time, rotation, pixel aspect ratio and fit are those of `frames`, so that training and dubbing see the same
pixels. Unlike `FilmReader`, it stops decoding at the last requested frame, and reports defects as
`ValueError`; the caller knows which clip it is.
"""

import io
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from dualdub_jax.media.container import find_video_stream
from dualdub_jax.media.frames import FrameFitter, FrameSpec, frames_before

# How long the last picture of a film may stand in for missing ones before the film counts as too short.
_MAX_HELD_S = 0.2
# Frames that begin later are sought, since all pictures from the key frame before them on must be decoded.
_SEEK_FROM_S = 2


def decode_frames(
    data: bytes, spec: FrameSpec, start_frame: int, num_frames: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Decodes frames of a clip by presentation time, whatever its own rate, constant or not.

    Args:
        data: an encoded video file.
        spec: rate, size and fit of the frames. Time zero is the clip's first picture.
        start_frame: the first frame to return.
        num_frames: how many frames to return.
        out: where they are written to; None: a new array.

    Returns:
        uint8[num_frames, size, size, 3], RGB.

    Raises:
        ValueError: not a video, no pictures in it, one without a presentation time, or it ends before the
            requested frames.
    """
    frames = out
    if frames is None:
        frames = np.empty((num_frames, spec.frame_size, spec.frame_size, 3), np.uint8)
    try:
        _decode(data, spec, start_frame, frames, use_seek=start_frame >= _SEEK_FROM_S * spec.frame_rate)
    except av.error.FFmpegError as error:
        raise ValueError(f"cannot be decoded: {error.strerror}") from error
    return frames


def _decode(data: bytes, spec: FrameSpec, start_frame: int, frames: np.ndarray, use_seek: bool) -> None:
    num_frames, filled = len(frames), 0
    with av.open(io.BytesIO(data)) as container:
        stream = find_video_stream(container)
        if stream is None:
            raise ValueError("has no video stream")
        # Clips are decoded side by side already: threads of a decoder or scaler only cost their start.
        stream.codec_context.thread_count = 1
        fitter = FrameFitter(spec, Fraction(stream.sample_aspect_ratio or 1), num_threads=1)
        pictures = _pictures(container, stream)
        shown = next(pictures, None)
        if shown is None:
            raise ValueError("has no frames")
        first_pts, time_base = shown.pts, shown.time_base
        frames_per_tick = time_base * spec.frame_rate
        if use_seek and _has_index(container, stream):
            wanted_pts = first_pts + int((start_frame + Fraction(1, 2)) / frames_per_tick)
            container.seek(wanted_pts, stream=stream)
            pictures = _pictures(container, stream)
            shown = next(pictures, None)
            if shown is None or shown.is_corrupt or shown.pts > wanted_pts:  # not of the wanted time
                _decode(data, spec, start_frame, frames, use_seek=False)
                return
        for picture in pictures:
            passed = min(frames_before(frames_per_tick, picture.pts - first_pts) - start_frame, num_frames)
            if passed > filled:
                frames[filled:passed] = fitter.fit(shown)
                filled = passed
                if filled == num_frames:
                    return
            shown = picture
    film_s = float((shown.pts - first_pts + (shown.duration or 0)) * time_base)
    end_s = float((start_frame + num_frames) / spec.frame_rate)
    if film_s + _MAX_HELD_S < end_s:
        raise ValueError(f"ends at {film_s:.2f} s, but the clip lasts until {end_s:.2f} s")
    frames[filled:] = fitter.fit(shown)


def _has_index(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> bool:
    """Whether all key frames are known, and decode alone: the files that builders write."""
    return container.format.name.startswith("mov") and stream.codec_context.name == "h264"


def _pictures(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> Iterator[av.VideoFrame]:
    for picture in container.decode(stream):
        if picture.pts is None:
            raise ValueError("has frames without a presentation time")
        yield picture
