"""Reading a film: any container, size and frame rate, opened once, its frames streamed in order.

- **Duration**: from the moment the first picture appears to the moment the last one goes away, as an exact
  fraction; see `timing`. A track has `round(duration_s * sample_rate_hz)` samples.
- **Frames**: see `frames`; their number is that of the time grid's frames that the samples touch.
- **Damage**: packets that cannot be decoded, with or without an error, keep their place in time (the last
  good picture stays on screen) and are counted.

The packets are read twice: once for the times, without decoding, and once for the pictures. Pictures are
decoded, scaled and dropped one by one, so that memory does not grow with the film. Source: our choice.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from types import TracebackType

import av
import numpy as np

from dualdub_jax.errors import UserError
from dualdub_jax.media.container import open_media, rewind, video_stream
from dualdub_jax.media.frames import FrameFitter, FrameSpec, Scaler, display_size, frames_before
from dualdub_jax.media.pictures import PictureDecoder
from dualdub_jax.media.timing import scan_timing

MIN_DURATION_S = Fraction(1, 2)
MAX_DURATION_S = Fraction(2 * 3600)  # longer ones are mostly broken timestamps
STRIP_LENGTH = 16  # thumbnails
STRIP_HEIGHT = 96  # pixels
BLOCK_FRAMES = 64


@dataclasses.dataclass(frozen=True)
class Film:
    """What is known of a film without its pictures.

    Attributes:
        path: the file.
        duration_s: exact duration of the video, seconds.
        start_pts: timestamp of the first picture, in units of `time_base`.
        time_base: seconds of one timestamp unit.
        num_pictures: pictures in the file that are meant to be shown.
        num_missing: how many of them are missing or damaged; what is damaged is known once all are decoded
            (`FilmReader.finish`).
        rate_hz: average pictures a second.
        size: width and height as displayed, pixels.
        codec: name of the video codec.
        container: name of the container format.
        has_sound: the file has a sound track of its own (it is not carried over).
        has_timestamps: packets have presentation times; False for bare H.264 and the like.
        num_restarts: how often the timestamps start again; see `clock`.
    """

    path: pathlib.Path
    duration_s: Fraction
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
    num_restarts: int = 0

    def num_samples(self, sample_rate_hz: int) -> int:
        """Samples of a track of exactly the film's duration."""
        return round(self.duration_s * sample_rate_hz)

    def num_frames(self, frame_rate: Fraction, sample_rate_hz: int) -> int:
        """Frames of a time grid that the track's samples touch."""
        return math.ceil(self.num_samples(sample_rate_hz) * frame_rate / sample_rate_hz)

    @property
    def warnings(self) -> list[str]:
        """Defects of the file that the user should know of, one sentence each."""
        warnings = []
        if self.num_missing:
            warnings.append(
                f"{self.path}: {self.num_missing} of {self.num_pictures} frames are missing or damaged; "
                "the last good picture stays on screen in their place"
            )
        if self.num_restarts:
            warnings.append(
                f"{self.path}: its timestamps start again {self.num_restarts} "
                f"time{'s' * (self.num_restarts > 1)}; "
                f"its {self.num_restarts + 1} parts are played one after another"
            )
        return warnings


class FilmReader:
    """An open film: first its metadata, then its frames, once, in order. A context manager.

    Attributes:
        film: the metadata.
        stream: the open video stream.
        is_read: whether the frames have been read.

    Example:
        with FilmReader(path) as reader:
            for block in reader.blocks(spec, reader.film.num_frames(spec.frame_rate, 16_000)):
                ...  # uint8[n, size, size, 3]
            film, strip = reader.finish()
    """

    def __init__(self, path: pathlib.Path | str) -> None:
        """Opens the film, finds its duration and decodes its first picture.

        Args:
            path: any media file with a video stream.

        Raises:
            UserError: there is no such file, it is empty, not media, cut off without its index, has no video
                stream, no picture that can be decoded, or is shorter than 0.5 s or longer than 2 h.
        """
        path = pathlib.Path(path)
        self._container = open_media(path, "video")
        try:
            self.film = self._open(path)
        except BaseException:
            self._container.close()
            raise

    def _open(self, path: pathlib.Path) -> Film:
        self.stream = stream = video_stream(self._container, path)
        timing = scan_timing(self._container, stream)
        if not timing.num_pictures:
            raise UserError(f"{path}: the video stream is empty; give an undamaged video")
        _check_duration(path, timing.end_s - timing.start_s)
        if timing.num_restarts:  # joined files can be read on, but not sought in
            self._container.close()
            self._container = open_media(path, "video")
            self.stream = stream = video_stream(self._container, path)
        else:
            rewind(self._container, path)
        self._decoder = PictureDecoder(stream, timing)
        self._pictures = self._decoder.decode(self._container)
        first = next(self._pictures, None)
        if first is None:
            raise UserError(f"{path}: none of its frames can be decoded; give an undamaged video")
        self._start_s, self._first = first
        duration_s = timing.end_s - self._start_s
        _check_duration(path, duration_s)  # once more: the first pictures may be damaged
        self._shown = self._show_all(duration_s)
        self._strip: list[np.ndarray] = []
        self.is_read = False
        return Film(
            path=path,
            duration_s=duration_s,
            start_pts=round(self._start_s / stream.time_base),
            time_base=stream.time_base,
            num_pictures=timing.num_pictures + timing.num_cut_off,
            num_missing=timing.num_cut_off,
            rate_hz=float(timing.num_pictures / duration_s),
            size=display_size(self._first, self._decoder.pixel_aspect),
            codec=stream.codec_context.codec.canonical_name,
            container=self._container.format.name,
            has_sound=bool(self._container.streams.audio),
            has_timestamps=timing.has_timestamps,
            num_restarts=timing.num_restarts,
        )

    def __enter__(self) -> "FilmReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._shown.close()
        self._pictures.close()
        self._container.close()

    def blocks(self, spec: FrameSpec, num_frames: int) -> Iterator[np.ndarray]:
        """Decodes the film into frames; see `named_blocks`.

        Args:
            spec: rate, size and fit of the frames.
            num_frames: how many; the last picture is held to the end.

        Yields:
            uint8[n, size, size, 3], RGB, n up to `BLOCK_FRAMES`.
        """
        return (block for _, block in self.named_blocks({"frames": (spec, num_frames)}))

    def named_blocks(self, requests: Mapping[str, tuple[FrameSpec, int]]) -> Iterator[tuple[str, np.ndarray]]:
        """Decodes the film once into frames of one or more specs. To be called once.

        Args:
            requests: by name, the spec of the frames and their number.

        Yields:
            A name and its next block, uint8[n, size, size, 3], n up to `BLOCK_FRAMES`. Blocks of one name are
            in order, and none is later than a block of another name by more than a block's duration.

        Raises:
            RuntimeError: the frames have been read already.
        """
        self._begin()
        return self._fit_all(requests)

    def pictures(self) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """Decodes the film picture by picture, in place of `blocks`. To be called once.

        Yields:
            Seconds after the first picture appears, and the picture as it is in the file.

        Raises:
            RuntimeError: the frames have been read already.
        """
        self._begin()
        yield Fraction(0), self._first
        for time_s, picture in self._pictures:
            yield time_s - self._start_s, picture

    def _begin(self) -> None:
        if self.is_read:
            raise RuntimeError(f"{self.film.path}: its frames can be read only once")
        self.is_read = True

    def _fit_all(self, requests: Mapping[str, tuple[FrameSpec, int]]) -> Iterator[tuple[str, np.ndarray]]:
        fitters = {
            name: FrameFitter(spec, self._decoder.pixel_aspect) for name, (spec, _) in requests.items()
        }
        blocks: dict[str, list[np.ndarray]] = {name: [] for name in requests}
        num_fitted = dict.fromkeys(requests, 0)
        for picture, until_s in self._shown:
            for name, (spec, num_frames) in requests.items():
                until = num_frames if until_s is None else frames_before(until_s * spec.frame_rate)
                num_new = min(until, num_frames) - num_fitted[name]
                if num_new <= 0:
                    continue
                frame = fitters[name].fit(picture)
                num_fitted[name] += num_new
                for _ in range(num_new):
                    blocks[name].append(frame)
                    if len(blocks[name]) == BLOCK_FRAMES:
                        yield name, np.stack(blocks[name])
                        blocks[name] = []
        yield from ((name, np.stack(block)) for name, block in blocks.items() if block)

    def finish(self) -> tuple[Film, np.ndarray]:
        """Decodes what is left.

        Returns:
            The metadata with all damage counted; and uint8[N, STRIP_HEIGHT, width, 3], the pictures at the
            middles of N = `STRIP_LENGTH` equal parts of the film.
        """
        for _ in self._shown:
            pass
        return self.film, np.stack(self._strip)

    def _show_all(self, duration_s: Fraction) -> Iterator[tuple[av.VideoFrame, Fraction | None]]:
        """Yields each picture with the time when the next one appears, seconds; None for the last one."""
        scaler, shown = Scaler(), self._first
        for time_s, picture in self._pictures:
            until_s = time_s - self._start_s
            self._add_thumbnails(scaler, shown, frames_before(until_s * STRIP_LENGTH / duration_s))
            yield shown, until_s
            shown = picture
        self._add_thumbnails(scaler, shown, STRIP_LENGTH)
        self.film = dataclasses.replace(self.film, num_missing=self._decoder.num_missing)
        yield shown, None

    def _add_thumbnails(self, scaler: Scaler, picture: av.VideoFrame, until: int) -> None:
        while len(self._strip) < min(until, STRIP_LENGTH):
            if self._strip:  # all of one size, even when a broadcast changes its own
                height, width = self._strip[0].shape[:2]
            else:
                width, height = display_size(picture, self._decoder.pixel_aspect)
                width = max(1, min(4 * STRIP_HEIGHT, round(width * STRIP_HEIGHT / height)))
                height = STRIP_HEIGHT
            self._strip.append(np.ascontiguousarray(scaler.scale(picture, width, height)))


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
