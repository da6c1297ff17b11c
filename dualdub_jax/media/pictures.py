"""Decoded pictures of a film with their times, in presentation order, whatever the file's damage."""

from collections.abc import Iterator
from fractions import Fraction

import av

from dualdub_jax.media.clock import FilmClock
from dualdub_jax.media.frames import MAX_THREADS
from dualdub_jax.media.timing import Timing

_MAX_HELD = 64  # pictures that a decoder may hold back; far more than any does


class PictureDecoder:
    """Decodes a video stream.

    Attributes:
        num_missing: pictures that are cut off, damaged or refused by the decoder; complete after the last
            picture. Damaged pictures keep their place in time: the last good one stays on screen.
        pixel_aspect: width of a pixel over its height.
    """

    def __init__(self, stream: av.video.stream.VideoStream, timing: Timing) -> None:
        """Prepares to decode; `timing` is that of `stream`."""
        self.num_missing = timing.num_cut_off
        self.pixel_aspect = Fraction(stream.sample_aspect_ratio or 1)
        self._stream = stream
        self._timing = timing
        stream.codec_context.thread_count = MAX_THREADS
        stream.thread_type = "SLICE"  # threads by frame lose good pictures next to damaged ones

    def decode(self, container: av.container.InputContainer) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """Yields (seconds since the container's zero, picture), in rising order of time."""
        num_good = num_interlaced = 0
        last_s = None
        for picture in self._pictures(container):
            num_good += not picture.is_corrupt
            num_interlaced += picture.interlaced_frame
            if picture.pts is not None:
                time_s = picture.pts * self._stream.time_base
            else:
                time_s = Fraction(0) if last_s is None else last_s + self._timing.picture_s
            if last_s is not None and time_s <= last_s:
                time_s = last_s + self._timing.picture_s  # AVI gives B-frames the wrong times
            last_s = time_s
            yield time_s, picture
        # Decoders drop most pictures that they cannot decode without an error.
        num_expected = self._timing.num_pictures
        if num_interlaced and num_good * 1.8 <= num_expected:
            num_expected = round(num_expected / 2)  # H.264 may have a packet for each field of a picture
        self.num_missing += max(0, num_expected - num_good)

    def _pictures(self, container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
        for packet in FilmClock(container, self._stream).packets():
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                continue
        for _ in range(_MAX_HELD):  # what the decoder still holds; each error loses one picture, not all
            try:
                yield from self._stream.codec_context.decode(None)
                return
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                continue
