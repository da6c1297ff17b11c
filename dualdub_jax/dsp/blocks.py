"""Signals that pass in blocks, so that memory does not grow with them: resampled, cut to a length, evened."""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

BLOCK_SAMPLES = 1 << 16


def silence(num_samples: int, num_channels: int) -> np.ndarray:
    """Zeros, float32[S], or [S, 2] in stereo."""
    return np.zeros(num_samples if num_channels == 1 else (num_samples, num_channels), np.float32)


def resample_blocks(
    blocks: Iterable[np.ndarray], from_hz: int, to_hz: int, num_channels: int
) -> Iterator[np.ndarray]:
    """Resamples consecutive blocks of one signal, without delay; equal rates change nothing.

    Args:
        blocks: float[n], or float[n, num_channels].
        from_hz, to_hz: sample rates.
        num_channels: of the blocks.

    Yields:
        float32 blocks of the same form; together `to_hz / from_hz` times as many samples, rounded.
    """
    if from_hz == to_hz:
        yield from blocks
        return
    resampler = soxr.ResampleStream(from_hz, to_hz, num_channels, dtype="float32")
    for block in blocks:
        yield resampler.resample_chunk(np.ascontiguousarray(block, np.float32))
    yield resampler.resample_chunk(silence(0, num_channels), last=True)


def fit_blocks(blocks: Iterable[np.ndarray], num_samples: int, num_channels: int) -> Iterator[np.ndarray]:
    """Cuts a signal to a number of samples, or appends zeros.

    Args:
        blocks: float[n], or float[n, num_channels].
        num_samples: of the result.
        num_channels: of the blocks.
    """
    num_left = num_samples
    for block in blocks:
        yield block[:num_left]
        num_left -= min(len(block), num_left)
        if not num_left:
            return
    for first in range(0, num_left, BLOCK_SAMPLES):
        yield silence(min(BLOCK_SAMPLES, num_left - first), num_channels)


def even_blocks(blocks: Iterable[np.ndarray], num_samples: int = BLOCK_SAMPLES) -> Iterator[np.ndarray]:
    """The same signal in blocks of `num_samples`, but for the last one."""
    held: list[np.ndarray] = []
    num_held = 0
    for block in blocks:
        held.append(block)
        num_held += len(block)
        if num_held < num_samples:
            continue
        joined = np.concatenate(held)
        end = num_held - num_held % num_samples
        yield from (joined[first : first + num_samples] for first in range(0, end, num_samples))
        held, num_held = [joined[end:]], num_held - end
    if num_held:
        yield np.concatenate(held)
