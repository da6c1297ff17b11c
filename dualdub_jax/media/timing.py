"""The time span of a video stream, from its packets and headers, without decoding any picture.

A film begins when its first picture appears and ends when its last picture goes away. When that is, the
first of these that the file has decides:

1. **The edit list** (MP4, QuickTime): the end of what is shown; pictures outside of it are not part of the
   film.
2. **The track's own duration**: its header (MP4, AVI, MXF, GIF), its DURATION tag (Matroska, WebM), the
   duration of the file where video is all there is (Matroska, WebM, FLV). A Matroska or FLV file that is
   cut off or damaged promises pictures that it does not have: they are missing, and the last one does not
   stay for them.
3. **The last packet's duration**, from the container or the codec (transport streams and all others).
4. **The stay of the picture before it.** If the rate varies and another stream of the file lasts longer,
   the last picture stays until that one ends, but no longer than any other picture did.

A film of constant rate whose times are rounded (Matroska, FLV) lasts exactly as long as its pictures.
Source: our choice.
"""

import dataclasses
from array import array
from fractions import Fraction

import av
import numpy as np

from dualdub_jax.media.clock import FilmClock
from dualdub_jax.media.container import holds_picture, is_mp4
from dualdub_jax.media.promised_end import Promise, find_promise

_GAP = 1.5  # usual stays of a picture
_COARSE_S = Fraction(1, 16_000)  # time bases above it round the times of common rates


@dataclasses.dataclass(frozen=True)
class Timing:
    """Where a video stream begins and ends.

    Attributes:
        start_s: when the first picture appears, seconds since the container's zero; None: no packets.
        end_s: when the last picture goes away; None likewise.
        num_pictures: packets that hold a picture to be shown.
        num_cut_off: pictures that the header promises and the file does not have, and those lost in holes.
        picture_s: how long a picture stays where the file does not say, seconds.
        has_timestamps: every packet has a presentation time; False for bare H.264 and the like.
        num_restarts: how often the timestamps start again; see `clock`.
    """

    start_s: Fraction | None
    end_s: Fraction | None
    num_pictures: int
    num_cut_off: int
    picture_s: Fraction
    has_timestamps: bool
    num_restarts: int = 0


def scan_timing(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> Timing:
    """Reads all packets of the file to find where its video begins and ends.

    Args:
        container: at its beginning; afterwards at its end (`container.rewind` goes back).
        stream: its video stream.
    """
    return scan_times(container, stream)[0]


def scan_times(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> tuple[Timing, np.ndarray]:
    """As `scan_timing`; also int64[N], the rising times of the pictures that have one, in time base units."""
    scan = _Scan(container, stream)
    return _find_timing(container, stream, scan), scan.times


def _find_timing(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, scan: "_Scan"
) -> Timing:
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    if not scan.num_shown:
        return Timing(None, None, 0, 0, 1 / rate, False)
    if not scan.has_times:
        return Timing(Fraction(0), scan.num_shown / rate, scan.num_shown, 0, 1 / rate, False)
    promise = find_promise(container, stream, scan.first_dts, scan.end_of_all_s, scan.has_gaps)
    end_s, num_cut_off = _find_end(scan, promise, rate)
    return Timing(
        scan.start * stream.time_base, end_s, scan.num_shown, num_cut_off, 1 / rate, True, scan.num_restarts
    )


class _Scan:
    """What the packets of a file say.

    Attributes:
        num_shown: packets with a picture to be shown.
        num_packets: all packets of the video with content.
        has_times: all of them have a presentation time.
        start, last: of the first and last of these pictures, units of the time base.
        last_duration: of the last one's packet; 0: unknown.
        first_dts: the first decoding time.
        times: int64[N], presentation times of these pictures, rising.
        stays: int64[N - 1], how long each picture stays but the last.
        has_corrupt: the demuxer has found damage in a packet, or lost some.
        end_of_all_s: when the last packet of any stream ends, seconds.
        last_dts: the last decoding time.
        num_cut_off: packets that the header or the index names and the file does not have.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> None:
        clock = FilmClock(container, stream)
        codec = stream.codec_context.codec.canonical_name
        times = array("q")
        self.time_base = stream.time_base
        self.num_shown = self.num_packets = 0
        self.first_dts: int | None = None
        self.end_of_all_s = Fraction(0)
        self.has_corrupt = False
        self.start = self.last = self.last_duration = self.last_dts = 0
        others = [
            other for other in container.streams if other.type in ("audio", "video") and other is not stream
        ]
        for packet in clock.packets(*others):
            if packet.pts is not None:
                end_s = (packet.pts + (packet.duration or 0)) * packet.time_base
                self.end_of_all_s = max(self.end_of_all_s, end_s)
            if packet.stream_index != stream.index:
                continue
            self.num_packets += 1
            self.has_corrupt |= packet.is_corrupt
            self.last_dts = packet.dts if packet.dts is not None else self.last_dts
            if self.first_dts is None:
                self.first_dts = packet.pts if packet.dts is None else packet.dts
            if not holds_picture(packet, codec):
                continue
            self.num_shown += 1
            if packet.pts is not None:
                times.append(packet.pts)
                if packet.pts >= self.last or len(times) == 1:
                    self.last, self.last_duration = packet.pts, packet.duration or 0
        self.num_restarts = clock.num_restarts
        self.has_times = len(times) == self.num_shown
        self.times = np.sort(np.array(times, np.int64))
        self.start = int(self.times[0]) if times else 0
        self.stays = np.diff(self.times)
        if is_mp4(container):  # its header also counts what an edit list leaves out
            self.num_cut_off = len(stream.index_entries) - self.num_packets
        elif container.format.name == "avi" and self.last_dts >= self.num_packets:
            # Chunks without content repeat a picture: the header counts them, and the last one may be one.
            self.num_cut_off = stream.frames - (self.last_dts + 2)
            self.last_duration = 0
        else:
            self.num_cut_off = stream.frames - self.num_packets

    @property
    def has_gaps(self) -> bool:
        """Whether some pictures stay longer than most."""
        return bool(self.stays.size) and self.stays.max() > _GAP * np.median(self.stays)

    def count_gaps(self) -> int:
        """How many pictures a constant rate would have where some stay longer than most."""
        usual = np.median(self.stays) if self.stays.size else 0
        long = self.stays[self.stays > _GAP * usual]
        return int(np.round(long / usual - 1).sum()) if usual > 0 else 0


def _find_end(scan: _Scan, promise: Promise, rate: Fraction) -> tuple[Fraction, int]:
    """When the last picture goes away, seconds, and how many pictures are cut off after it."""
    last_s = scan.last * scan.time_base
    stay_s = scan.last_duration * scan.time_base or _stay_before(scan) or 1 / rate
    end_s = last_s + stay_s
    start_s, constant_s = scan.start * scan.time_base, scan.num_shown / rate
    if scan.time_base > _COARSE_S and abs(constant_s - (end_s - start_s)) <= scan.time_base:
        end_s = start_s + constant_s
    if scan.num_cut_off > 0:
        return end_s, scan.num_cut_off
    num_lost = scan.count_gaps() if scan.has_corrupt or promise.is_broken else 0
    if promise.end_s is None:
        return max(end_s, _end_with_others(scan, last_s)), num_lost
    if promise.is_broken:
        missing_s = promise.end_s - max(end_s, scan.end_of_all_s)
        num_cut_off = max(1, round((promise.end_s - end_s) * rate)) if missing_s > 1 / rate / 2 else 0
        return end_s, num_cut_off + num_lost
    if abs(promise.end_s - end_s) < promise.precision_s:
        return end_s, num_lost
    if (promise.is_final or not scan.last_duration) and promise.end_s > last_s:
        return promise.end_s, num_lost
    return max(end_s, promise.end_s), num_lost


def _stay_before(scan: _Scan) -> Fraction | None:
    return int(scan.stays[-1]) * scan.time_base if scan.stays.size and scan.stays[-1] > 0 else None


def _end_with_others(scan: _Scan, last_s: Fraction) -> Fraction:
    """The end of all streams, as far as a picture of a variable rate may stay for it."""
    if not scan.has_gaps:
        return last_s
    return min(scan.end_of_all_s, last_s + int(scan.stays.max()) * scan.time_base)
