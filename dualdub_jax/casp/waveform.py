"""How a stem becomes what CASP hears: crops, levels, padding, in DualBench's and in PodEval's convention.

Levels are normalised away, so CASP cannot hear the balance between speech and background. Silence stays
silence (the original divides it by zero); a silent stem has no score. Source: the public DualBench and
PodEval repositories.
"""

from collections.abc import Iterator
from typing import TypeVar

import jax
import numpy as np

Array = TypeVar("Array", np.ndarray, jax.Array)

PODEVAL_CHUNK_SAMPLES = 160_000  # 10 s at 16 kHz


def normalise(waveform: Array) -> Array:
    """Takes the mean off and scales the peak to one, along the last axis; silence becomes zeros.

    The authors add 1e-8 to the peak and then normalise the peak again after padding, which makes it one.
    """
    waveform = waveform - waveform.mean(axis=-1, keepdims=True)
    peak = abs(waveform).max(axis=-1, keepdims=True)
    waveform = waveform / (peak + 1e-8)
    peak = abs(waveform).max(axis=-1, keepdims=True)
    return waveform / (peak + (peak == 0.0))


def is_silent(waveform: np.ndarray) -> bool:
    """True for what `normalise` cannot bring to a peak of one: nothing, or one value throughout."""
    return waveform.size == 0 or float(np.ptp(waveform)) < 1e-6


def dualbench_windows(waveform: np.ndarray, crop: int, window: int, hop: int = 0) -> np.ndarray:
    """Crops of a stem, each normalised by itself, then padded with zeros.

    Args:
        waveform: float32[S], S at least 1.
        crop: samples of a crop; a shorter stem is one crop as it is.
        window: samples after padding, at least `crop`.
        hop: distance of crops, samples; the last one ends where the stem ends. 0: the first crop only,
            which is DualBench's convention.

    Returns:
        float32[N, window].
    """
    last = max(len(waveform) - crop, 0)
    starts = [0] if hop == 0 else sorted({*range(0, last, hop), last})
    crops = [normalise(waveform[start : start + crop]) for start in starts]
    return np.stack([np.pad(crop, (0, window - len(crop))) for crop in crops]).astype(np.float32)


def podeval_chunks(waveform: np.ndarray, chunk: int = PODEVAL_CHUNK_SAMPLES) -> Iterator[np.ndarray]:
    """The whole stem at a peak of one, cut into chunks; a last one that is too short is repeated, not padded.

    Args:
        waveform: float32[S].
        chunk: samples of a chunk.

    Yields:
        float32[chunk].
    """
    waveform = waveform / (abs(waveform).max() + 1e-9)
    for start in range(0, len(waveform), chunk):
        piece = waveform[start : start + chunk]
        yield np.tile(piece, -(-chunk // len(piece)))[:chunk].astype(np.float32)
