"""The sound of a film or of a recording, mono, stretch by stretch, on the clock of the film's pictures."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import av
import numpy as np
import soxr

from dualdub_jax.data_pipeline.record import MAX_SAMPLE_RATE_HZ
from dualdub_jax.media.container import open_media, read_packets, rewind

# Time stamps of a container that counts milliseconds wander by less than this; real gaps are longer.
_JITTER_S = 0.02
# Sound that starts later is sought, since decoding all before it would take long.
_SEEK_FROM_S = 30
_SEEK_MARGIN_S = 1


class Sound(NamedTuple):
    """float32[S], mono, in [-1, 1], and its sample rate, at most 48 kHz."""

    samples: np.ndarray
    sample_rate_hz: int


_STATING = {"flac", "matroska", "mp4"}
_MAX_MISSING_S = Fraction(1, 5)  # other streams of a file may last a little longer
_UNKNOWN_BYTES = 0x7FFFF000  # what WAV files that were written to a pipe have as their size, or more


class SoundReader:
    """Reads stretches of a file's sound one after the other, at its own rate if that is 48 kHz or lower.

    Samples lie where their time stamps say: sound that begins after the pictures, or has gaps, is zero there.
    The file is decoded once, and only the current stretch is in memory. A context manager.

    Args:
        path: a film or a sound file.
        start_s: no stretch begins before this time, seconds since the container's zero.

    Raises:
        UserError: the file cannot be opened.
        ValueError: a sound stream of which nothing can be decoded, or that holds values which are not finite.
    """

    def __init__(self, path: Path, start_s: Fraction = Fraction(0)) -> None:
        self._container = open_media(path, "sound")
        try:
            self._open(path, start_s)
        except BaseException:
            self._container.close()
            raise

    def _open(self, path: Path, start_s: Fraction) -> None:
        container = self._container
        stream = container.streams.best("audio") or next(iter(container.streams.audio), None)
        self.has_sound = stream is not None
        if stream is None:
            return
        if stream.codec_context is None:
            raise ValueError("its codec is unknown")
        has_sought = start_s > _SEEK_FROM_S
        if has_sought:
            try:
                container.seek(int((start_s - _SEEK_MARGIN_S) / stream.time_base), stream=stream)
            except av.error.FFmpegError:
                rewind(container, path)
        self._blocks = _blocks(container, stream)
        first = next(self._blocks, None)
        # A header without a rate has it in its packets; a stretch after the end of the sound has neither.
        self._rate_hz = first[2] if first else stream.codec_context.sample_rate
        if not self._rate_hz or (first is None and not has_sought):
            raise ValueError("nothing of it can be decoded")
        self._held = [first[:2]] if first else []  # decoded blocks that the next stretch may need

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def read(self, start_s: Fraction, end_s: Fraction) -> Sound | None:
        """The sound between two times of the container; None if the file has no sound stream.

        Args:
            start_s: not before that of an earlier call, seconds.
            end_s: seconds.

        Raises:
            ValueError: it holds values that are not finite.
        """
        if not self.has_sound:
            return None
        rate_hz = self._rate_hz
        first, num_samples = round(start_s * rate_hz), round((end_s - start_s) * rate_hz)
        last = first + num_samples
        self._held = [block for block in self._held if block[0] + len(block[1]) > first]
        while not self._held or self._held[-1][0] < last:
            block = next(self._blocks, None)
            if block is None:
                break
            if block[0] + len(block[1]) > first:
                self._held.append(block[:2])
        samples = np.zeros(num_samples, np.float32)
        for position, mono in self._held:
            begin, end = max(position, first), min(position + len(mono), last)
            if end > begin:
                samples[begin - first : end - first] = mono[begin - position : end - position]
        if rate_hz > MAX_SAMPLE_RATE_HZ:
            samples = soxr.resample(samples, rate_hz, MAX_SAMPLE_RATE_HZ)
            rate_hz = MAX_SAMPLE_RATE_HZ
        return Sound(samples, rate_hz)


def read_sound(path: Path, start_s: Fraction, end_s: Fraction) -> Sound | None:
    """One stretch of a file; see `SoundReader`."""
    with SoundReader(path, start_s) as reader:
        return reader.read(start_s, end_s)


def sound_end_s(path: Path) -> Fraction | None:
    """When the last packet of a file's sound ends, seconds since the container's zero; None without sound.

    Raises:
        UserError: the file cannot be opened.
    """
    with open_media(path, "sound") as container:
        stream = container.streams.best("audio") or next(iter(container.streams.audio), None)
        if stream is None:
            return None
        end_s, length_s = Fraction(0), Fraction(0)
        for packet in read_packets(container, stream):
            packet_s = (packet.duration or 0) * packet.time_base
            length_s += packet_s
            end_s = max(end_s, length_s if packet.pts is None else packet.pts * packet.time_base + packet_s)
        return end_s


def is_cut_off(path: Path) -> bool:
    """Whether a sound file ends before its header says: it was cut off while being written or copied.

    WAV, FLAC, MP4 and Matroska state their length; of others it is not known, and False.

    Raises:
        UserError: the file cannot be opened.
    """
    with open_media(path, "sound") as container:
        formats = container.format.name.split(",")
        stated_s = Fraction(container.duration or 0, av.time_base)
    if "wav" in formats:  # whose length the library takes from the file's size
        with path.open("rb") as file:
            head = file.read(8)
        stated = int.from_bytes(head[4:8], "little")
        return head[:4] == b"RIFF" and 8 + stated > path.stat().st_size and stated < _UNKNOWN_BYTES
    end_s = sound_end_s(path)
    return bool(_STATING & set(formats)) and end_s is not None and stated_s - end_s > _MAX_MISSING_S


def _blocks(
    container: av.container.InputContainer, stream: av.audio.stream.AudioStream
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Decoded sound as (position of its first sample on the container's clock, float32[n], rate in Hz)."""
    # Resamplers by the form of the decoded sound, which may change in a broadcast; the first rate counts.
    to_mono: dict[tuple, av.AudioResampler] = {}
    position = rate_hz = None
    try:
        for frame in container.decode(stream):
            rate_hz = rate_hz or frame.sample_rate
            form = (frame.format.name, frame.layout.name, frame.sample_rate)
            if form not in to_mono:
                to_mono[form] = av.AudioResampler(format="fltp", layout="mono", rate=rate_hz)
            if frame.pts is not None:
                stamped = round(frame.pts * frame.time_base * rate_hz)
                if position is None or abs(stamped - position) > _JITTER_S * rate_hz:
                    position = stamped
            elif position is None:
                position = 0
            for block in to_mono[form].resample(frame):
                mono = block.to_ndarray()[0]
                if not np.isfinite(mono).all():
                    raise ValueError("its sound holds samples that are not numbers")
                yield position, mono, rate_hz
                position += len(mono)
    except av.error.FFmpegError:
        return  # what was decoded before the damage counts
