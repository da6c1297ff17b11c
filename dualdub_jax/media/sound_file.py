"""Sound files: the samples of any container and codec, at a given rate."""

import contextlib
import math
import pathlib
from collections.abc import Callable, Iterator

import av
import numpy as np
import soxr

from dualdub_jax.errors import UserError
from dualdub_jax.media.container import open_media

MAX_REFERENCE_S = 600


def read_mono(path: pathlib.Path | str, sample_rate_hz: int, max_s: float = MAX_REFERENCE_S) -> np.ndarray:
    """Reads the sound of any media file: channels averaged, resampled, at its own level.

    Args:
        path: the file; of several sound streams the main one is read.
        sample_rate_hz: of the result.
        max_s: seconds to read from the beginning.

    Returns:
        float32[S], mono.

    Raises:
        UserError: the file is missing, empty, not media, or its sound is absent or cannot be decoded.
    """
    return _read(path, sample_rate_hz, max_s, lambda samples: samples.mean(axis=1, keepdims=True))[:, 0]


def read_channels(
    path: pathlib.Path | str, sample_rate_hz: int, max_s: float = MAX_REFERENCE_S
) -> np.ndarray:
    """As `read_mono`, every channel by itself.

    Returns:
        float32[S, channels].
    """
    return _read(path, sample_rate_hz, max_s, lambda samples: samples)


def sound_rate_hz(path: pathlib.Path | str) -> int:
    """Sample rate of a media file's main sound stream.

    Raises:
        UserError: the file is missing, empty, not media, or has no sound.
    """
    with open_media(pathlib.Path(path), "sound") as container:
        stream = container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            raise UserError(f"{path}: no sound in it; give a recording of a voice")
        return stream.rate


def read_blocks(path: pathlib.Path | str, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """As `read_mono`, in blocks and to the end, so that memory does not grow with the file.

    Yields:
        float32[s] blocks.

    Raises:
        UserError: as `read_mono`; sound that cannot be decoded to its end, or contains values that are not
            finite.
    """
    path, num_samples = pathlib.Path(path), 0
    try:
        for block in _blocks(path, sample_rate_hz, lambda samples: samples.mean(axis=1, keepdims=True)):
            if not np.isfinite(block).all():
                raise UserError(f"{path}: holds samples that are not numbers; give an undamaged recording")
            num_samples += len(block)
            yield block[:, 0]
    except _DamagedError as damaged:
        raise UserError(
            f"{path}: its sound {damaged} after {num_samples / sample_rate_hz:.2f} s; repair it, or convert "
            "it to a WAV file"
        ) from None


def stated_seconds(path: pathlib.Path | str) -> float | None:
    """The duration that a media file states, seconds, without decoding it; None: it states none.

    Raises:
        UserError: the file is missing, empty, or not media.
    """
    with open_media(path, "sound") as container:
        return None if container.duration is None else container.duration / av.time_base


class _DamagedError(Exception):
    """Sound that ends before its file does; the text is the reason."""


def _read(
    path: pathlib.Path | str, sample_rate_hz: int, max_s: float, mix: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """float32[S, C], resampled after `mix` of float32[S, channels]."""
    blocks: list[np.ndarray] = []
    # A damaged end does no harm to a reference: the samples before it are used.
    with contextlib.suppress(_DamagedError):
        for block in _blocks(pathlib.Path(path), sample_rate_hz, mix, max_s):
            blocks.append(block)
    return np.concatenate(blocks)


def _blocks(
    path: pathlib.Path,
    sample_rate_hz: int,
    mix: Callable[[np.ndarray], np.ndarray],
    max_s: float = math.inf,
) -> Iterator[np.ndarray]:
    """Yields float32[s, C]; raises `_DamagedError` at the end of what can be decoded."""
    layout, damage = None, ""
    with open_media(path, "sound") as container:
        stream = container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            raise UserError(f"{path}: no sound in it; give a sound file, or a film with sound")
        try:
            for frame in container.decode(stream):
                samples = mix(_channels(frame))
                if layout is None:
                    layout = frame.sample_rate, samples.shape[1]
                    resampler = soxr.ResampleStream(layout[0], sample_rate_hz, layout[1], dtype="float32")
                    limit = max_s * frame.sample_rate
                if (frame.sample_rate, samples.shape[1]) != layout:
                    damage = "changes its sample rate or channels"
                    break
                yield resampler.resample_chunk(samples).reshape(-1, layout[1])
                limit -= frame.samples
                if limit <= 0:
                    break
        except av.error.FFmpegError:
            if layout is None:
                raise UserError(f"{path}: its sound cannot be decoded; give a WAV or FLAC file") from None
            damage = "cannot be decoded"
    if layout is None:
        raise UserError(f"{path}: the sound stream is empty; give a file with sound in it")
    rest = resampler.resample_chunk(np.zeros((0, layout[1]), np.float32), last=True)
    yield rest.reshape(-1, layout[1])
    if damage:
        raise _DamagedError(damage)


def _channels(frame: av.AudioFrame) -> np.ndarray:
    """float32[S, channels] in [-1, 1]."""
    samples = frame.to_ndarray()
    if frame.format.is_planar:
        samples = samples.T
    else:
        samples = samples.reshape(-1, frame.layout.nb_channels)
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128.0) / 128.0
    elif np.issubdtype(samples.dtype, np.integer):
        samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return np.ascontiguousarray(samples, np.float32)
