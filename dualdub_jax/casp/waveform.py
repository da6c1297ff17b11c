"""Preprocessing of stems for CASP: cropping, level normalisation and padding.

Two conventions are implemented, DualBench's and PodEval's.

Levels are normalised, so CASP is blind to the balance of speech and background. A silent stem remains silent
(the original code divides by zero) and has no score.

Source: the public DualBench and PodEval repositories. Where they differ, the code is followed: the paper
states training segments of 5 s, the authors' code crops 1 s for training and 5 s for scoring.
"""

from collections.abc import Iterator
from typing import TypeVar

import jax
import numpy as np

Array = TypeVar("Array", np.ndarray, jax.Array)

PODEVAL_CHUNK_SAMPLES = 160_000  # 10 s at 16 kHz


def normalise(waveform: Array) -> Array:
    """Subtracts the mean and normalises the peak to 1 along the last axis; silence becomes zeros.

    The authors add 1e-8 to the peak and normalise again after padding, which gives a peak of exactly 1.

    Args:
        waveform: float32[..., S].

    Returns:
        float32[..., S] in [-1, 1].
    """
    waveform = waveform - waveform.mean(axis=-1, keepdims=True)
    peak = abs(waveform).max(axis=-1, keepdims=True)
    waveform = waveform / (peak + 1e-8)
    peak = abs(waveform).max(axis=-1, keepdims=True)
    return waveform / (peak + (peak == 0.0))


def is_silent(waveform: np.ndarray) -> bool:
    """True for an empty or constant float32[S], which `normalise` cannot scale to a peak of 1."""
    return waveform.size == 0 or float(np.ptp(waveform)) < 1e-6


def dualbench_windows(waveform: np.ndarray, crop: int, window: int, hop: int = 0) -> np.ndarray:
    """Crops of a stem, individually normalised and zero-padded.

    Args:
        waveform: float32[S] at 16 kHz, S at least 1.
        crop: length of a crop, samples; a shorter stem is a single crop.
        window: length after padding, samples, at least `crop`.
        hop: distance of crops, samples; the last crop is aligned with the end. 0: the first crop only, which
            is DualBench's convention.

    Returns:
        float32[N, window].
    """
    last = max(len(waveform) - crop, 0)
    starts = [0] if hop == 0 else sorted({*range(0, last, hop), last})
    crops = [normalise(waveform[start : start + crop]) for start in starts]
    return np.stack([np.pad(crop, (0, window - len(crop))) for crop in crops]).astype(np.float32)


def podeval_chunks(waveform: np.ndarray, chunk: int = PODEVAL_CHUNK_SAMPLES) -> Iterator[np.ndarray]:
    """Chunks of a peak-normalised stem; a short last chunk is repeated, not padded.

    Args:
        waveform: float32[S] at 16 kHz.
        chunk: length of a chunk, samples.

    Yields:
        float32[chunk].
    """
    waveform = waveform / (abs(waveform).max() + 1e-9)
    for start in range(0, len(waveform), chunk):
        piece = waveform[start : start + chunk]
        yield np.tile(piece, -(-chunk // len(piece)))[:chunk].astype(np.float32)
