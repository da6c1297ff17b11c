"""Reading a film: any container, size and frame rate, onto the 25 Hz grid and the sample clock.

Rules, all of them our choice:

- **Which picture**: grid frame t shows the picture that is on screen at the middle of its 40 ms,
  (t + 1/2) / 25 s after the first picture appears. So constant, variable, low and high frame rates are
  one case, and a picture is at most half a grid frame early or late.
- **Shape**: pictures are turned as the file says, shrunk with their display aspect kept, and set on
  black in the middle of the square that the model sees. Squashing would change the shape of every face
  and mouth; cropping would lose what sounds at the edges.
- **Duration**: from the moment the first picture appears to the moment the last one goes away, as an
  exact fraction. Tracks have `round(duration * sample_rate)` samples.
- **Damage**: packets that cannot be decoded keep their place in time (the last good picture stays on
  screen) and are counted.

Pictures are decoded, shrunk and dropped one by one: memory grows by 12 KB a grid frame, whatever the
size of the film.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from dualdub_jax.config import GridConfig
from dualdub_jax.errors import UserError
from dualdub_jax.media.container import open_media, read_packets, video_stream

MIN_DURATION_S = Fraction(1, 2)
MAX_DURATION_S = Fraction(2 * 3600)  # 2.2 GB of grid frames; longer films are cut by the user
STRIP_LENGTH = 16  # pictures kept for the report
STRIP_HEIGHT = 96  # pixels
_MAX_HELD = 64  # pictures that a decoder may hold back; far more than any does


@dataclasses.dataclass(frozen=True)
class Film:
    """A film on the grid.

    Attributes:
        path: the file.
        frames: uint8[T, size, size, 3], RGB; T is the number of grid frames that the samples touch.
        duration_s: exact duration of the video in seconds.
        num_samples: samples of every track of this film.
        start_pts: timestamp of the first picture, in units of `time_base`.
        time_base: seconds of one timestamp unit.
        num_pictures: pictures in the file that are meant to be shown.
        num_missing: how many of them are missing or damaged.
        rate_hz: average pictures a second.
        size: width and height as displayed, pixels.
        codec: name of the video codec.
        container: name of the container format.
        has_sound: the file has a sound track of its own (it is not carried over).
        has_timestamps: packets say when they are shown; False for bare H.264 and the like.
        strip: uint8[N, STRIP_HEIGHT, width, 3], pictures at the middles of N equal parts of the film.
    """

    path: pathlib.Path
    frames: np.ndarray
    duration_s: Fraction
    num_samples: int
    start_pts: int
    time_base: Fraction
    num_pictures: int
    num_missing: int
    rate_hz: float
    size: tuple[int, int]
    codec: str
    container: str
    has_sound: bool
    has_timestamps: bool
    strip: np.ndarray

    @property
    def warnings(self) -> list[str]:
        """What the user should know of the file, one sentence each."""
        if not self.num_missing:
            return []
        return [
            f"{self.path}: {self.num_missing} of {self.num_pictures} frames are missing or damaged; "
            "the last good picture stays on screen in their place"
        ]


@dataclasses.dataclass(frozen=True)
class _Timing:
    """What the packets say, without decoding any."""

    start_s: Fraction | None
    end_s: Fraction | None
    num_pictures: int
    num_cut_off: int
    picture_s: Fraction
    has_timestamps: bool


def read_film(
    path: pathlib.Path | str,
    grid: GridConfig,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Film:
    """Reads the video of a film onto the grid.

    Args:
        path: any media file with a video stream.
        grid: frame rate, sample rate and the size of the frames that the model sees.
        on_progress: called with the part of the film that has been read, 0 to 1.

    Raises:
        UserError: there is no such file, it is empty, not media, cut off without its index, has no video
            stream, no picture that can be decoded, or is shorter than 0.5 s or longer than 2 h.
    """
    path = pathlib.Path(path)
    with open_media(path, "video") as container:
        timing = _scan(container, video_stream(container, path))
    if not timing.num_pictures:
        raise UserError(f"{path}: the video stream is empty; give an undamaged video")
    _check_duration(path, timing.end_s - timing.start_s)
    with open_media(path, "video") as container:
        stream = video_stream(container, path)
        pictures = _Pictures(stream, timing)
        sampler = _GridSampler(grid, timing, pictures.pixel_aspect, on_progress)
        for time_s, picture in pictures.decode(container):
            sampler.show(time_s, picture)
        if sampler.start_s is None:
            raise UserError(f"{path}: none of its frames can be decoded; give an undamaged video")
        duration_s = sampler.duration_s
        _check_duration(path, duration_s)  # once more: the first pictures may be damaged
        frames, strip = sampler.finish()
        has_sound = bool(container.streams.audio)
        container_name, codec, time_base = container.format.name, stream.codec_context.name, stream.time_base
    return Film(
        path=path,
        frames=frames,
        duration_s=duration_s,
        num_samples=round(duration_s * grid.sample_rate_hz),
        start_pts=round(sampler.start_s / time_base),
        time_base=time_base,
        num_pictures=timing.num_pictures + timing.num_cut_off,
        num_missing=pictures.num_missing,
        rate_hz=float(timing.num_pictures / duration_s),
        size=pictures.size,
        codec=codec,
        container=container_name,
        has_sound=has_sound,
        has_timestamps=timing.has_timestamps,
        strip=strip,
    )


def _check_duration(path: pathlib.Path, duration_s: Fraction) -> None:
    if duration_s < MIN_DURATION_S:
        raise UserError(
            f"{path}: the video is {float(duration_s):.2f} s long but at least {float(MIN_DURATION_S)} s are "
            "needed; give a longer one"
        )
    if duration_s > MAX_DURATION_S:
        raise UserError(
            f"{path}: the video is {float(duration_s) / 3600:.1f} h long but at most "
            f"{float(MAX_DURATION_S) / 3600:.0f} h are possible; cut it into parts"
        )


def _scan(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> _Timing:
    """Reads all packets of the file, decoding none, and finds where the video begins and ends."""
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
        return _Timing(None, None, 0, 0, 1 / rate, False)
    if num_timed < num_packets:
        return _Timing(Fraction(0), num_packets / rate, num_packets, 0, 1 / rate, False)
    start_s, end_s = start * time_base, end * time_base + (last_duration * time_base or 1 / rate)
    if time_base > Fraction(1, 16_000) and abs(num_packets / rate - (end_s - start_s)) <= time_base:
        # Matroska rounds to milliseconds: a film of constant rate is as long as its pictures.
        end_s = start_s + num_packets / rate
    # A file cut off at its end still says in its header how much there was.
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
    return _Timing(start_s, end_s, num_packets, num_cut_off, 1 / rate, True)


class _Pictures:
    """Decodes a stream into (seconds since the container's zero, picture), in rising order of time."""

    def __init__(self, stream: av.video.stream.VideoStream, timing: _Timing):
        self.size = (0, 0)
        self.num_missing = timing.num_cut_off
        self.pixel_aspect = Fraction(stream.sample_aspect_ratio or 1)
        self._stream = stream
        self._timing = timing
        stream.thread_type = "SLICE"  # threads by frame lose good pictures next to damaged ones

    def decode(self, container: av.container.InputContainer) -> Iterator[tuple[Fraction, av.VideoFrame]]:
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
            if not self.size[0]:
                self.size = _display_size(picture, self.pixel_aspect)
            yield time_s, picture
        if num_bad:
            # Packets without a picture are no loss by themselves: some codecs have hidden frames.
            self.num_missing += max(0, self._timing.num_pictures - num_good)

    def _pictures(self, container: av.container.InputContainer) -> Iterator[av.VideoFrame | None]:
        """Pictures, and None for each packet that the decoder refused."""
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


def _display_size(picture: av.VideoFrame, pixel_aspect: Fraction) -> tuple[int, int]:
    """Width and height as a player shows them: square pixels, turned."""
    width = max(1, round(picture.width * pixel_aspect))
    return (picture.height, width) if _quarter_turns(picture) % 2 else (width, picture.height)


def _quarter_turns(picture: av.VideoFrame) -> int:
    """Counter-clockwise quarter turns that the file asks for."""
    return round((picture.rotation or 0) / 90) % 4


def _shrink(scaler: VideoReformatter, picture: av.VideoFrame, width: int, height: int) -> np.ndarray:
    """Scales to uint8[height, width, 3], turned as the file asks."""
    turns = _quarter_turns(picture)
    if turns % 2:
        width, height = height, width
    small = scaler.reformat(picture, width, height, "rgb24", interpolation=Interpolation.AREA)
    return np.rot90(small.to_ndarray(), turns)


class _GridSampler:
    """Keeps, of a rising sequence of pictures, those on screen at the middles of the grid frames."""

    def __init__(
        self,
        grid: GridConfig,
        timing: _Timing,
        pixel_aspect: Fraction,
        on_progress: Callable[[float], None],
    ):
        self.start_s: Fraction | None = None
        self._grid = grid
        self._end_s = timing.end_s
        self._pixel_aspect = pixel_aspect
        self._on_progress = on_progress
        self._picture: av.VideoFrame | None = None
        self._frames = np.zeros(0, np.uint8)  # made when the first picture tells the film's length
        self._num_kept = 0
        self._strip: list[np.ndarray] = []
        # A scaler is kept from picture to picture: to set it up costs more than to use it.
        self._to_grid, self._to_strip = VideoReformatter(), VideoReformatter()

    @property
    def duration_s(self) -> Fraction:
        return self._end_s - self.start_s

    def show(self, time_s: Fraction, picture: av.VideoFrame) -> None:
        """The picture that comes on screen at `time_s`."""
        if self.start_s is None:
            self.start_s = time_s
            num_samples = round(self.duration_s * self._grid.sample_rate_hz)
            num_frames = math.ceil(num_samples / self._grid.samples_per_frame)
            self._frames = np.zeros((num_frames, self._grid.frame_size, self._grid.frame_size, 3), np.uint8)
        else:
            self._keep_until(time_s - self.start_s)
            self._on_progress(min(1.0, float((time_s - self.start_s) / self.duration_s)))
        self._picture = picture

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The frames, uint8[T, size, size, 3], and the strip, uint8[N, height, width, 3]."""
        self._keep_until(None)
        self._on_progress(1.0)
        return self._frames, np.stack(self._strip)

    def _keep_until(self, time_s: Fraction | None) -> None:
        """Takes the current picture for all moments before `time_s`; for all that are left if None."""
        rate = self._grid.frame_rate_hz
        small = None
        while self._num_kept < len(self._frames):
            if time_s is not None and Fraction(2 * self._num_kept + 1, 2 * rate) >= time_s:
                break
            small = self._letterbox() if small is None else small
            self._frames[self._num_kept] = small
            self._num_kept += 1
        while len(self._strip) < STRIP_LENGTH:
            middle_s = self.duration_s * Fraction(2 * len(self._strip) + 1, 2 * STRIP_LENGTH)
            if time_s is not None and middle_s >= time_s:
                break
            self._strip.append(self._thumbnail())

    def _letterbox(self) -> np.ndarray:
        size = self._grid.frame_size
        width, height = _display_size(self._picture, self._pixel_aspect)
        scale = size / max(width, height)
        inner_width, inner_height = (max(1, round(side * scale)) for side in (width, height))
        frame = np.zeros((size, size, 3), np.uint8)
        top, left = (size - inner_height) // 2, (size - inner_width) // 2
        small = _shrink(self._to_grid, self._picture, inner_width, inner_height)
        frame[top : top + inner_height, left : left + inner_width] = small
        return frame

    def _thumbnail(self) -> np.ndarray:
        if self._strip:  # all of one size, even when a broadcast changes its own
            height, width = self._strip[0].shape[:2]
        else:
            width, height = _display_size(self._picture, self._pixel_aspect)
            width, height = max(1, min(4 * STRIP_HEIGHT, round(width * STRIP_HEIGHT / height))), STRIP_HEIGHT
        return np.ascontiguousarray(_shrink(self._to_strip, self._picture, width, height))
