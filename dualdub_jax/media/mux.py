"""Muxing a soundtrack: the film's video packets copied, the mix encoded beside them.

No picture is decoded or encoded again. The film's time zero moves to its first picture, where the mix begins.
Other streams of the film (its own sound, subtitles, chapters) are not carried over.
"""

import io
import pathlib
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
import soxr

from dualdub_jax.errors import UserError
from dualdub_jax.media.container import open_media, read_packets, video_stream
from dualdub_jax.media.film import Film
from dualdub_jax.media.track import Samples

# Suffix -> (container format of libavformat, audio codec). WebM allows no AAC.
CONTAINERS: dict[str, tuple[str, str]] = {
    ".mp4": ("mp4", "aac"),
    ".m4v": ("mp4", "aac"),
    ".mov": ("mov", "aac"),
    ".mkv": ("matroska", "aac"),
    ".webm": ("webm", "libopus"),
}
AUDIO_BIT_RATE = 96_000  # bits a second, mono: beyond what speech and noise can use
_BLOCK = 1024  # samples handed to the encoder at a time
_READ = 64 * _BLOCK  # samples read at a time


def check_container(film: Film, stream: av.video.stream.VideoStream, out: pathlib.Path) -> None:
    """Checks that `out` can hold the film's video as it is; nothing is read or written.

    Args:
        film: the film.
        stream: its open video stream, for the codec's parameters.
        out: the name that chooses the container.

    Raises:
        UserError: an unknown suffix, a video codec that the container cannot hold, or a film whose
            packets have no presentation times.
    """
    if out.suffix.lower() not in CONTAINERS:
        raise UserError(f"{out}: unknown kind of file; end the name in one of {', '.join(CONTAINERS)}")
    if not film.has_timestamps:
        raise UserError(
            f"{film.path}: its packets have no times, so they cannot be copied; put the video into an "
            "MKV or MP4 file first"
        )
    if _can_hold(stream, out):
        return
    others = (out.with_suffix(suffix) for suffix in (".mkv", ".mov") if suffix != out.suffix.lower())
    fitting = next((other for other in others if _can_hold(stream, other)), None)
    mend = f"try -o {fitting.name}" if fitting else "convert the video to H.264 first"
    raise UserError(
        f"{out}: {out.suffix[1:].upper()} cannot hold {film.codec} video as it is in {film.path}; {mend}"
    )


def _can_hold(stream: av.video.stream.VideoStream, out: pathlib.Path) -> bool:
    format_name, audio_codec = CONTAINERS[out.suffix.lower()]
    try:
        with av.open(io.BytesIO(), "w", format=format_name) as target:
            target.add_stream_from_template(stream, opaque=True)
            target.add_stream(audio_codec, rate=16_000, layout="mono")
            target.start_encoding()  # writes the header, where a muxer refuses a codec
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def mux_soundtrack(film: Film, mix: Samples, sample_rate_hz: int, out: pathlib.Path, file: BinaryIO) -> None:
    """Writes the film's video with `mix` as its only sound.

    Args:
        film: the film; its packets are read from `film.path`.
        mix: float32[S] in [-1, 1], read in blocks.
        sample_rate_hz: of `mix`.
        out: the name that chooses the container; nothing is written there.
        file: where the bytes go; opened for writing, seekable.

    Raises:
        UserError: the film cannot be read, or `out` cannot hold its video: see `check_container`.
        OSError: `file` cannot be written.
    """
    guarded = _Guarded(file)
    try:
        _mux(film, mix, sample_rate_hz, out, guarded)
    except Exception:  # whatever libav made of it: the file's own error names the cause
        if guarded.error is not None:
            raise guarded.error from None
        raise


class _Guarded:
    """A file that keeps the first error of writing: libav raises another one that does not name the cause."""

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self.seek, self.tell = file.seek, file.tell
        self._write = file.write

    def write(self, data: bytes) -> int:
        try:
            return self._write(data)
        except OSError as error:
            self.error = self.error or error
            raise


def _mux(film: Film, mix: Samples, sample_rate_hz: int, out: pathlib.Path, file: _Guarded) -> None:
    with open_media(film.path, "video") as source:
        stream = video_stream(source, film.path)
        check_container(film, stream, out)
        format_name, audio_codec = CONTAINERS[out.suffix.lower()]
        with av.open(file, "w", format=format_name) as target:
            video = target.add_stream_from_template(stream, opaque=True)  # needs no encoder of that codec
            rate_hz = _encodable_rate(audio_codec, sample_rate_hz)
            audio = target.add_stream(audio_codec, rate=rate_hz, layout="mono")
            audio.bit_rate = AUDIO_BIT_RATE
            clock = _Clock(film)
            video.time_base = clock.time_base
            sound = _encode(audio, _resampled(mix, sample_rate_hz, rate_hz), rate_hz)
            sound_until_s = Fraction(0)
            for packet in read_packets(source, stream):
                clock.move(packet)
                # In order of time, so that the muxer never has to hold one stream back for the other.
                while (
                    sound_until_s <= packet.pts * packet.time_base
                    and (block := next(sound, None)) is not None
                ):
                    sound_until_s, packets = block
                    target.mux(packets)
                packet.stream = video
                target.mux(packet)
            for _, packets in sound:
                target.mux(packets)


class _Clock:
    """Moves packets to a clock that begins with the first picture and ends with the film's duration.

    Matroska rounds times and lengths to milliseconds, so that the last packet may end a little before or
    after the film does: on a finer clock its length is exact. Decoding times that do not
    rise, which muxers refuse, are nudged.
    """

    def __init__(self, film: Film):
        self._start_pts = film.start_pts
        self._refine = max(1, round(film.time_base * 90_000)) if film.time_base > Fraction(1, 2_000) else 1
        self.time_base = film.time_base / self._refine
        self._end_pts = round(film.duration_s / self.time_base)
        self._last_dts: int | None = None

    def move(self, packet: av.Packet) -> None:
        packet.pts = (packet.pts - self._start_pts) * self._refine
        if packet.dts is not None:
            packet.dts = (packet.dts - self._start_pts) * self._refine
            if self._last_dts is not None:
                packet.dts = max(packet.dts, self._last_dts + 1)
                packet.pts = max(packet.pts, packet.dts)
            self._last_dts = packet.dts
        packet.duration = (packet.duration or 0) * self._refine
        packet.time_base = self.time_base
        if abs(packet.pts + packet.duration - self._end_pts) <= self._refine:
            packet.duration = self._end_pts - packet.pts


def _encodable_rate(codec: str, sample_rate_hz: int) -> int:
    """The lowest rate of the codec that keeps the whole band: AAC and Opus take a few rates only."""
    rates = av.Codec(codec, "w").audio_rates or [sample_rate_hz]
    return min((rate for rate in rates if rate >= sample_rate_hz), default=max(rates))


def _resampled(mix: Samples, rate_hz: int, new_rate_hz: int) -> Iterator[np.ndarray]:
    """Blocks of the mix at the encoder's rate."""
    blocks = (
        part[first : first + _BLOCK]
        for start in range(0, len(mix), _READ)
        for part in (mix[start : start + _READ],)
        for first in range(0, len(part), _BLOCK)
    )
    if rate_hz == new_rate_hz:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate_hz, new_rate_hz, 1, dtype="float32")
    for block in blocks:
        yield resampler.resample_chunk(np.asarray(block, np.float32))
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _encode(
    audio: av.audio.stream.AudioStream, blocks: Iterator[np.ndarray], sample_rate_hz: int
) -> Iterator[tuple[Fraction, list[av.Packet]]]:
    """Yields encoded packets, each group with the time in seconds up to which the encoder was fed."""
    num_fed = 0
    for block in blocks:
        if not len(block):
            continue
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block[None], np.float32), "fltp", "mono")
        frame.sample_rate = sample_rate_hz
        frame.time_base = Fraction(1, sample_rate_hz)
        frame.pts = num_fed
        num_fed += len(block)
        yield Fraction(num_fed, sample_rate_hz), audio.encode(frame)
    yield Fraction(num_fed, sample_rate_hz), audio.encode(None)
