"""One clock for a whole film: timestamps that start again are continued.

Joined transport streams and DVD recordings, and recordings that were interrupted, have timestamps that
jump. A player shows their parts one after another, and so do we: where decoding times fall back, or in
broadcast formats leap by more than `MAX_LEAP_S`, the next part begins when the last picture goes away. Edit
lists of MP4 repeat decoding times on purpose; their times are final. Source: our choice, after the ffmpeg
program.
"""

from collections.abc import Iterator
from fractions import Fraction

import av

from dualdub_jax.media.container import is_mp4, read_packets

MAX_LEAP_S = Fraction(10)
_MAX_FALL_S = Fraction(1, 10)  # smaller ones are untidy writing, not a new part
_BROADCAST = {"mpegts", "mpeg"}  # formats in which a picture never stays for long


class FilmClock:
    """Moves the packets of one reading of a film onto one clock.

    Attributes:
        num_restarts: how often the timestamps started again so far.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> None:
        """Prepares a reading of `container`, whose video stream is `stream`."""
        self.num_restarts = 0
        self._container, self._stream = container, stream
        self._is_final = is_mp4(container)
        self._can_leap = container.format.name in _BROADCAST
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self._default_stay = round(1 / rate / stream.time_base)
        self._offset = 0  # units of the video's time base, like all below
        self._last_dts: int | None = None
        self._end = 0  # when the last picture goes away

    def packets(self, *others: av.stream.Stream) -> Iterator[av.Packet]:
        """Packets of the video and of `others` in the order of the file."""
        for packet in read_packets(self._container, self._stream, *others):
            if not self._is_final:
                self._move(packet)
            yield packet

    def _move(self, packet: av.Packet) -> None:
        if packet.stream_index != self._stream.index:
            self._shift(packet, round(self._offset * self._stream.time_base / packet.time_base))
            return
        dts = packet.dts
        if dts is not None and self._last_dts is not None:
            leap_s = (dts + self._offset - self._last_dts) * self._stream.time_base
            if leap_s < -_MAX_FALL_S or (self._can_leap and leap_s > MAX_LEAP_S):
                self._offset = self._end - (dts if packet.pts is None else packet.pts)
                self.num_restarts += 1
        self._shift(packet, self._offset)
        if dts is not None:
            self._last_dts = dts + self._offset
        if packet.pts is not None:
            self._end = max(self._end, packet.pts + (packet.duration or self._default_stay))

    def _shift(self, packet: av.Packet, offset: int) -> None:
        if not offset:
            return
        if packet.pts is not None:
            packet.pts += offset
        if packet.dts is not None:
            packet.dts += offset
