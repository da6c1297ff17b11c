"""The sound of a stretch of a film, mono, on the clock of its pictures."""

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soxr

from dualdub_jax.data_pipeline.record import MAX_SAMPLE_RATE_HZ
from dualdub_jax.media.container import open_media, rewind

# Time stamps of a container that counts milliseconds wander by less than this; real gaps are longer.
_JITTER_S = 0.02
_SEEK_MARGIN_S = 1


class Sound(NamedTuple):
    """float32[S], mono, in [-1, 1], and its sample rate, at most 48 kHz."""

    samples: np.ndarray
    sample_rate_hz: int


def read_sound(path: Path, start_s: Fraction, end_s: Fraction) -> Sound | None:
    """Reads the sound between two times of a film's container, at its own rate if that is 48 kHz or lower.

    Samples lie where their time stamps say: sound that begins after the pictures, or has gaps, is zero there.

    Args:
        path: the film.
        start_s: seconds since the container's zero.
        end_s: likewise.

    Returns:
        All channels mixed to mono; None if the film has no sound stream.

    Raises:
        ValueError: a sound stream of which nothing can be decoded.
        UserError: the film cannot be opened.
    """
    with open_media(path, "sound") as container:
        stream = container.streams.best("audio") or next(iter(container.streams.audio), None)
        if stream is None:
            return None
        if stream.codec_context is None:
            raise ValueError("its codec is unknown")
        if start_s > _SEEK_MARGIN_S:
            try:
                container.seek(int((start_s - _SEEK_MARGIN_S) / stream.time_base), stream=stream)
            except av.error.FFmpegError:
                rewind(container, path)
        blocks = _blocks(container, stream, start_s)
        first = next(blocks, None)
        # A header without a rate has it in its packets; a stretch after the end of the sound has neither.
        rate_hz = first[2] if first else stream.codec_context.sample_rate
        if not rate_hz or (first is None and start_s <= _SEEK_MARGIN_S):
            raise ValueError("nothing of it can be decoded")
        samples = np.zeros(round((end_s - start_s) * rate_hz), np.float32)
        for position, mono, _ in itertools.chain([first] if first else [], blocks):
            begin, end = max(position, 0), min(position + len(mono), len(samples))
            if position >= len(samples):
                break
            if end > begin:
                samples[begin:end] = mono[begin - position : end - position]
    if rate_hz > MAX_SAMPLE_RATE_HZ:
        samples = soxr.resample(samples, rate_hz, MAX_SAMPLE_RATE_HZ)
        rate_hz = MAX_SAMPLE_RATE_HZ
    return Sound(samples, rate_hz)


def _blocks(
    container: av.container.InputContainer, stream: av.audio.stream.AudioStream, start_s: Fraction
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Decoded sound as (position of its first sample after `start_s`, float32[n], sample rate in Hz)."""
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
                stamped = round((frame.pts * frame.time_base - start_s) * rate_hz)
                if position is None or abs(stamped - position) > _JITTER_S * rate_hz:
                    position = stamped
            elif position is None:
                position = round(-start_s * rate_hz)
            for block in to_mono[form].resample(frame):
                mono = block.to_ndarray()[0]
                yield position, mono, rate_hz
                position += len(mono)
    except av.error.FFmpegError:
        return  # what was decoded before the damage counts
