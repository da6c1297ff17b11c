"""A film that browsers play: the delivered one if they can, otherwise a small copy of its pictures."""

import math
import pathlib
from fractions import Fraction

import av
import numpy as np

from dualdub_jax.media.container import open_media, video_stream
from dualdub_jax.media.film import Film, FilmReader
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.pages.data_uri import is_playable

_SPEC = FrameSpec(Fraction(25), 480)
# Pixel formats that the H.264 decoders of browsers take.
_PLAYABLE_PIXELS = {"yuv420p", "yuvj420p"}


def plays_in_browsers(film: Film, out: pathlib.Path) -> bool:
    """Whether browsers play the video stream of `film` in the container of `out`."""
    if not is_playable(out, film.codec):
        return False
    with open_media(film.path, "video") as container:
        pixels = video_stream(container, film.path).codec_context.pix_fmt
    return film.codec != "h264" or pixels in _PLAYABLE_PIXELS


def write_preview(film: Film, out: pathlib.Path) -> None:
    """Writes an MP4 file with the pictures of a film: 25 a second, at most 480 pixels a side, no sound."""
    num_frames = math.ceil(film.duration_s * _SPEC.frame_rate)
    with FilmReader(film.path) as reader, av.open(str(out), "w", options={"movflags": "faststart"}) as copy:
        encoder = copy.add_stream("libx264", rate=_SPEC.frame_rate, options={"preset": "ultrafast"})
        rows, columns = _inside(film.size)
        encoder.width, encoder.height, encoder.pix_fmt = _length(columns), _length(rows), "yuv420p"
        for block in reader.blocks(_SPEC, num_frames):
            for frame in block:
                picture = np.ascontiguousarray(frame[rows, columns])
                copy.mux(encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        copy.mux(encoder.encode(None))


def _inside(size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the picture in a letterboxed frame, an even number of both."""
    width, height = (max(2, round(side * _SPEC.frame_size / max(size)) // 2 * 2) for side in size)
    top, left = (_SPEC.frame_size - height) // 2, (_SPEC.frame_size - width) // 2
    return slice(top, top + height), slice(left, left + width)


def _length(part: slice) -> int:
    return part.stop - part.start
