"""The time span of a video stream, from its packets and headers, without decoding any picture."""

import dataclasses
from fractions import Fraction

import av

from dualdub_jax.media.container import read_packets


@dataclasses.dataclass(frozen=True)
class Timing:
    """Where a video stream begins and ends.

    Attributes:
        start_s: when the first picture appears, seconds since the container's zero; None: no packets.
        end_s: when the last picture goes away; None likewise.
        num_pictures: packets that hold a picture to be shown.
        num_cut_off: pictures that the header promises and the file does not have.
        picture_s: how long a picture stays where the file does not say, seconds.
        has_timestamps: every packet has a presentation time; False for bare H.264 and the like.
    """

    start_s: Fraction | None
    end_s: Fraction | None
    num_pictures: int
    num_cut_off: int
    picture_s: Fraction
    has_timestamps: bool


def scan_timing(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> Timing:
    """Reads all packets of the file to find where its video begins and ends.

    Args:
        container: at its beginning; afterwards at its end (`container.rewind` goes back).
        stream: its video stream.
    """
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    time_base = stream.time_base
    start = end = last_duration = None
    end_of_all_s = Fraction(0)
    num_packets = num_timed = num_discarded = 0
    for packet in read_packets(container):
        if packet.stream_index != stream.index:
            if packet.pts is not None:
                end_of_all_s = max(end_of_all_s, (packet.pts + (packet.duration or 0)) * packet.time_base)
            continue
        if packet.is_discard:
            num_discarded += 1
            continue
        num_packets += 1
        if packet.pts is None:
            continue
        num_timed += 1
        start = packet.pts if start is None else min(start, packet.pts)
        if end is None or packet.pts >= end:
            end, last_duration = packet.pts, packet.duration
    if not num_packets:
        return Timing(None, None, 0, 0, 1 / rate, False)
    if num_timed < num_packets:
        return Timing(Fraction(0), num_packets / rate, num_packets, 0, 1 / rate, False)
    start_s, end_s = start * time_base, end * time_base + (last_duration * time_base or 1 / rate)
    if time_base > Fraction(1, 16_000) and abs(num_packets / rate - (end_s - start_s)) <= time_base:
        # Matroska rounds times to milliseconds: a film of constant rate is as long as its pictures.
        end_s = start_s + num_packets / rate
    # The header of a file whose end was cut off still counts all of its pictures.
    num_cut_off = max(0, stream.frames - num_packets - num_discarded)
    if stream.frames and stream.duration and not num_cut_off:
        # How long the last picture stays is only in the track's header: its packet has no successor.
        first = start if stream.start_time is None else stream.start_time
        end_s = max(end_s, (first + stream.duration) * time_base)
    if container.duration and "matroska" in container.format.name:
        end_of_all_s = max(end_of_all_s, end_s)
        promised_s = Fraction(container.duration + max(container.start_time or 0, 0), av.time_base)
        if promised_s - end_of_all_s > 1 / rate / 2:
            num_cut_off = max(0, round((promised_s - end_s) * rate))
    return Timing(start_s, end_s, num_packets, num_cut_off, 1 / rate, True)
