"""Decoded pictures of a film with their times, in presentation order, whatever the file's damage."""

from collections.abc import Iterator
from fractions import Fraction

import av

from dualdub_jax.media.container import read_packets
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
        num_good = num_bad = 0
        last_s = None
        for picture in self._pictures(container):
            if picture is None:
                num_bad += 1
                continue
            num_good += not picture.is_corrupt
            num_bad += picture.is_corrupt
            if picture.pts is not None:
                time_s = picture.pts * self._stream.time_base
            else:
                time_s = Fraction(0) if last_s is None else last_s + self._timing.picture_s
            if last_s is not None and time_s <= last_s:
                time_s = last_s + self._timing.picture_s  # AVI gives B-frames the wrong times
            last_s = time_s
            yield time_s, picture
        if num_bad:
            # Packets without a picture are no loss by themselves: some codecs have hidden frames.
            self.num_missing += max(0, self._timing.num_pictures - num_good)

    def _pictures(self, container: av.container.InputContainer) -> Iterator[av.VideoFrame | None]:
        """Yields pictures, and None for each packet that the decoder refuses."""
        for packet in read_packets(container, self._stream):
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                yield None
        for _ in range(_MAX_HELD):  # what the decoder still holds; each error loses one picture, not all
            try:
                yield from self._stream.codec_context.decode(None)
                return
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                yield None
