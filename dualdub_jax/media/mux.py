"""Putting the soundtrack under the film: the video's packets copied, the mix encoded beside them.

Nothing of the picture is decoded or encoded again. The film's time zero is moved to its first picture and
the mix begins there. Other streams of the film (its own sound, subtitles, chapters) are not carried over.
"""

import io
import pathlib
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np

from dualdub_jax.errors import UserError
from dualdub_jax.media.container import open_media, read_packets, video_stream
from dualdub_jax.media.film import Film

# Suffix -> (container format of libavformat, audio codec). WebM allows no AAC.
CONTAINERS: dict[str, tuple[str, str]] = {
    ".mp4": ("mp4", "aac"),
    ".m4v": ("mp4", "aac"),
    ".mov": ("mov", "aac"),
    ".mkv": ("matroska", "aac"),
    ".webm": ("webm", "libopus"),
}
AUDIO_BIT_RATE = 96_000  # bits a second, mono: beyond what 16 kHz speech and noise can use
_BLOCK = 1024  # samples handed to the encoder at a time


def check_container(film: Film, out: pathlib.Path) -> None:
    """Makes sure, before any work, that `out` can hold the film's video as it is.

    Raises:
        UserError: an unknown suffix, a video codec that the container cannot hold, or a film whose
            packets do not say when they are shown.
    """
    if out.suffix.lower() not in CONTAINERS:
        raise UserError(f"{out}: unknown kind of file; end the name in one of {', '.join(CONTAINERS)}")
    if not film.has_timestamps:
        raise UserError(
            f"{film.path}: its packets have no times, so they cannot be copied; put the video into an "
            "MKV or MP4 file first"
        )
    if _can_hold(film, out):
        return
    others = (out.with_suffix(suffix) for suffix in (".mkv", ".mov") if suffix != out.suffix.lower())
    fitting = next((other for other in others if _can_hold(film, other)), None)
    mend = f"try -o {fitting.name}" if fitting else "convert the video to H.264 first"
    raise UserError(
        f"{out}: {out.suffix[1:].upper()} cannot hold {film.codec} video as it is in {film.path}; {mend}"
    )


def _can_hold(film: Film, out: pathlib.Path) -> bool:
    try:
        # The header is where a muxer refuses a codec; one packet of each stream makes it write the header.
        mux_soundtrack(film, np.zeros(_BLOCK, np.float32), 16_000, out, io.BytesIO(), max_packets=1)
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def mux_soundtrack(
    film: Film,
    mix: np.ndarray,
    sample_rate_hz: int,
    out: pathlib.Path,
    file: BinaryIO,
    max_packets: int | None = None,
) -> None:
    """Writes the film's video with `mix` as its only sound.

    Args:
        film: the film; its packets are read from `film.path` again.
        mix: float32[S] in [-1, 1].
        sample_rate_hz: of `mix`.
        out: the name that says which container; nothing is written there.
        file: where the bytes go; opened for writing, seekable.
        max_packets: stop after so many video packets.

    Raises:
        OSError: `file` cannot be written.
        av.error.FFmpegError: the container refuses the video.
    """
    guarded = _Guarded(file)
    try:
        _mux(film, mix, sample_rate_hz, out, guarded, max_packets)
    except Exception:  # whatever libav made of it: the file's own error says more
        if guarded.error is not None:
            raise guarded.error from None
        raise


class _Guarded:
    """A file that remembers the first error of writing: libav turns it into one that says nothing."""

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


def _mux(
    film: Film,
    mix: np.ndarray,
    sample_rate_hz: int,
    out: pathlib.Path,
    file: _Guarded,
    max_packets: int | None,
) -> None:
    format_name, audio_codec = CONTAINERS[out.suffix.lower()]
    with open_media(film.path, "video") as source, av.open(file, "w", format=format_name) as target:
        stream = video_stream(source, film.path)
        video = target.add_stream_from_template(stream, opaque=True)  # needs no encoder of that codec
        audio = target.add_stream(audio_codec, rate=sample_rate_hz, layout="mono")
        audio.bit_rate = AUDIO_BIT_RATE
        clock = _Clock(film)
        video.time_base = clock.time_base
        sound = _encode(audio, mix, sample_rate_hz)
        sound_until_s = Fraction(0)
        for number, packet in enumerate(read_packets(source, stream)):
            if max_packets is not None and number >= max_packets:
                break
            clock.move(packet)
            # In order of time, so that the muxer never has to hold one stream back for the other.
            while sound_until_s <= packet.pts * packet.time_base and (block := next(sound, None)) is not None:
                sound_until_s, packets = block
                target.mux(packets)
            packet.stream = video
            target.mux(packet)
        for _, packets in sound:
            target.mux(packets)


class _Clock:
    """Moves packets to a clock that begins with the first picture and ends with the film's duration.

    Matroska rounds times and lengths to milliseconds, so that the last packet may end a little before or
    after the film does: on a finer clock it gets the length that it should have. Decoding times that do not
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


def _encode(
    audio: av.audio.stream.AudioStream, mix: np.ndarray, sample_rate_hz: int
) -> Iterator[tuple[Fraction, list[av.Packet]]]:
    """Encoded packets of `mix`, each with the time in seconds up to which they were fed."""
    for first in range(0, len(mix), _BLOCK):
        block = np.ascontiguousarray(mix[None, first : first + _BLOCK], np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate = sample_rate_hz
        frame.time_base = Fraction(1, sample_rate_hz)
        frame.pts = first
        yield Fraction(first + block.shape[1], sample_rate_hz), audio.encode(frame)
    yield Fraction(len(mix), sample_rate_hz), audio.encode(None)
