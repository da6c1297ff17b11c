"""Stretches of a film as small H.264 files: as a player shows them, on the film's own clock."""

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from dualdub_jax.media.container import open_media, rewind, video_stream
from dualdub_jax.media.frames import Scaler, display_size
from dualdub_jax.media.pictures import PictureDecoder
from dualdub_jax.media.timing import Timing

_CLOCK_HZ = 90_000  # of the times in the small files
# Some containers seek a little late, and pictures before the first key frame cannot be decoded.
_SEEK_MARGIN_S = 5
# How long the last picture that can be decoded may stand in for others before a stretch counts as damaged.
_MAX_HELD_S = Fraction(1, 5)
# Without lookahead, x264 gives the same bytes every time.
_X264 = "bframes=0:rc-lookahead=0:sync-lookahead=0:mbtree=0:weightp=0"


class Span(NamedTuple):
    """A stretch of a film, seconds after its first picture appears."""

    start_s: Fraction
    end_s: Fraction


class SmallVideo(NamedTuple):
    """A stretch as H.264 in MP4; `is_damaged` if pictures of it are damaged or missing in the film."""

    mp4: bytes
    is_damaged: bool


def small_videos(
    path: Path, timing: Timing, spans: Iterable[Span], short_side: int
) -> Iterator[tuple[Span, SmallVideo | None]]:
    """Re-encodes stretches of a film; one is in memory at a time.

    Pictures are rotated as the film asks, shown with square pixels, and scaled down until the shorter side
    has `short_side` pixels; small ones keep their size. Each keeps its time. A stretch begins with the
    picture that is on screen at its start, at time zero of the file.

    Args:
        path: the film.
        timing: of its video stream.
        spans: one after another, in order; each is taken when the one before it has been yielded.
        short_side: pixels.

    Yields:
        Each span with its file; None if no picture can be decoded up to its end.

    Raises:
        UserError: the film cannot be opened.
    """
    pictures = following = None
    shown: tuple[Fraction, Picture] | None = None
    for span in spans:
        if pictures is None:
            pictures = pictures_from(path, timing, span.start_s)
            following = next(pictures, None)
        encoder = None
        while True:
            # The next picture ends the current one; the first stands in for those before it.
            if shown is None or (following is not None and following[0] <= span.start_s):
                if following is None:
                    break
                shown, following = following, next(pictures, None)
                continue
            start_s, picture = max(shown[0], span.start_s) if encoder else span.start_s, shown[1]
            if start_s >= span.end_s:
                break
            until_s = span.end_s if following is None else min(following[0], span.end_s)
            if encoder is None:
                encoder = _Encoder(picture, short_side)
            encoder.add(picture, start_s - span.start_s, until_s - start_s)
            if following is None:
                encoder.is_damaged |= span.end_s - shown[0] - picture.duration_s > _MAX_HELD_S
            if following is None or following[0] >= span.end_s:
                break
            shown, following = following, next(pictures, None)
        yield span, encoder.finish() if encoder else None


class Picture(NamedTuple):
    """A decoded picture, its display aspect, and how long it stays on screen by itself."""

    frame: av.VideoFrame
    pixel_aspect: Fraction
    duration_s: Fraction


def pictures_from(path: Path, timing: Timing, start_s: Fraction) -> Iterator[tuple[Fraction, Picture]]:
    """Pictures with seconds after the film's first, from the one on screen at `start_s` or an earlier one."""
    with open_media(path, "video") as container:
        stream = video_stream(container, path)
        stream.codec_context.thread_count = 1  # films are read side by side already
        wanted_s = timing.start_s + start_s - _SEEK_MARGIN_S
        use_seek = timing.has_timestamps and not timing.num_restarts and start_s > _SEEK_MARGIN_S
        if use_seek:
            try:
                container.seek(int(wanted_s / stream.time_base), stream=stream)
            except av.error.FFmpegError:
                rewind(container, path)
        decoder = PictureDecoder(stream, timing)
        pictures = decoder.decode(container)
        first = next(pictures, None)
        if use_seek and (first is None or first[0] > timing.start_s + start_s):  # seeked too late
            rewind(container, path)
            pictures = PictureDecoder(stream, timing).decode(container)
            first = next(pictures, None)
        while first is not None:
            duration_s = (first[1].duration or 0) * stream.time_base or timing.picture_s
            yield first[0] - timing.start_s, Picture(first[1], decoder.pixel_aspect, duration_s)
            first = next(pictures, None)


class _Encoder:
    """Encodes pictures of one stretch; the first decides the size."""

    def __init__(self, picture: Picture, short_side: int) -> None:
        width, height = display_size(picture.frame, picture.pixel_aspect)
        scale = min(1.0, short_side / min(width, height))
        # 4:2:0 wants even sides.
        self._size = tuple(max(2, 2 * round(side * scale / 2)) for side in (width, height))
        self._scaler = Scaler(num_threads=1)
        self._file = io.BytesIO()
        self._container = av.open(self._file, "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=25)  # a hint: every picture has its time
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "23", "preset": "veryfast", "x264-params": _X264}
        self._stream.codec_context.time_base = self._stream.time_base = Fraction(1, _CLOCK_HZ)
        self._stream.codec_context.thread_count = 1
        self.is_damaged = False

    def add(self, picture: Picture, start_s: Fraction, duration_s: Fraction) -> None:
        """Adds a picture that is on screen from `start_s` of the stretch for `duration_s`."""
        pixels = self._scaler.scale(picture.frame, *self._size)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.time_base = Fraction(1, _CLOCK_HZ)
        frame.pts = round(start_s * _CLOCK_HZ)
        frame.duration = round((start_s + duration_s) * _CLOCK_HZ) - frame.pts
        self._container.mux(self._stream.encode(frame))
        self.is_damaged |= picture.frame.is_corrupt

    def finish(self) -> SmallVideo:
        self._container.mux(self._stream.encode())
        self._container.close()
        return SmallVideo(self._file.getvalue(), self.is_damaged)
