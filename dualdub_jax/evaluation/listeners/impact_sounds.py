"""Detection and classification of Puppet Stage's six impact sounds by a linear classifier.

A seventh class rejects candidates of `onsets.py` that are no impact (a chirp, a rain drop, a cricket). The
classifier is specific to this world: a hit unlike its sounds is rejected. The coefficients in
`assets/impact_sounds.npz` are fitted by `fit_impact_sounds.py`.

Source: our choice; multinomial logistic regression.
"""

import dataclasses
import functools
import hashlib
import pathlib

import numpy as np
from einops import rearrange

from dualdub_jax.evaluation.analysis import onsets
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ

CLASSES = ("ball", "drum", "bell", "anvil", "knock", "glasses")
ASSET = pathlib.Path(__file__).parents[1] / "assets" / "impact_sounds.npz"
_BEFORE_STEPS = (-9, -2)
_AFTER_STEPS = ((0, 3), (3, 7), (7, 14), (14, 24), (24, 40))  # to 200 ms after
_RANGE_DB = 30.0
_PEAK_BEFORE, _PEAK_AFTER = 160, 400  # samples
_APART_S = 0.1  # closer hits are merged


@dataclasses.dataclass(frozen=True)
class Hits:
    """Hits detected in a track.

    Attributes:
        times_s: float64[K], ascending.
        classes: int[K], index into `CLASSES` of the most probable class.
        peaks: float64[K], the largest |sample| from 10 ms before to 25 ms after the onset.
    """

    times_s: np.ndarray
    classes: np.ndarray
    peaks: np.ndarray


def features(power: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Gain-invariant features of onsets: rise and decay of each band.

    Args:
        power: float64[N, 40], of `onsets.mel_power`.
        times_s: float64[K], of onsets.

    Returns:
        float64[K, 400].
    """
    before, after = _around(power, times_s)
    rise_db = onsets.decibels(after) - onsets.decibels(before)[:, None]
    added_db = onsets.decibels(np.maximum(after - before[:, None], 0))
    added_db -= added_db.max(axis=(1, 2), keepdims=True)
    both = np.stack([np.clip(rise_db, -10, _RANGE_DB), np.maximum(added_db, -_RANGE_DB)], axis=1)
    return rearrange(both, "k kind window band -> k (kind window band)") / _RANGE_DB


def peaks(samples: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """float64[K]: the largest |sample| from 10 ms before to 25 ms after each onset; 0 outside the track.

    A peak is less sensitive than power to reverberation and to concurrent sounds.
    """
    padded = np.pad(np.abs(onsets.finite(samples)), _PEAK_AFTER)
    first = np.round(np.asarray(times_s) * SAMPLE_RATE_HZ).astype(int) + _PEAK_AFTER
    steps = first[:, None] + np.arange(-_PEAK_BEFORE, _PEAK_AFTER)
    return padded[np.clip(steps, 0, len(padded) - 1)].max(axis=1)


def _around(power: np.ndarray, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean power before each onset, float64[K, 40], and in windows after it, float64[K, 5, 40]."""
    first = np.round(np.asarray(times_s) / onsets.STEP_S).astype(int)

    def mean_of(span: tuple[int, int]) -> np.ndarray:
        steps = first[:, None] + np.arange(*span)
        return power[np.clip(steps, 0, len(power) - 1)].mean(axis=1)

    return mean_of(_BEFORE_STEPS), np.stack([mean_of(span) for span in _AFTER_STEPS], axis=1)


@functools.cache
def _coefficients() -> tuple[np.ndarray, np.ndarray]:
    """Weights float64[400, 7] and biases float64[7]; the last class is "no impact"."""
    with np.load(ASSET, allow_pickle=False) as asset:
        if tuple(asset["classes"]) != CLASSES:
            raise ValueError(f"{ASSET.name}: classes {tuple(asset['classes'])}, expected {CLASSES}")
        return asset["weights"].astype(np.float64), asset["biases"].astype(np.float64)


def coefficients_sha256() -> str:
    """Hex digest of the file with the coefficients."""
    return hashlib.sha256(ASSET.read_bytes()).hexdigest()


def detect_hits(samples: np.ndarray) -> Hits:
    """Detects and classifies the impacts in a background track.

    Args:
        samples: float[S] at 16 kHz; may be empty and may hold NaN.
    """
    power = onsets.mel_power(samples)
    times_s = onsets.pick_onsets(onsets.onset_strength(power))
    weights, biases = _coefficients()
    logits = features(power, times_s) @ weights + biases
    scores = np.exp(logits - logits.max(axis=1, keepdims=True)) if len(logits) else logits
    is_hit = 1 - scores[:, -1] / scores.sum(axis=1)
    kept: list[int] = []
    for candidate in np.argsort(-is_hit, kind="stable"):
        if is_hit[candidate] > 0.5 and all(abs(times_s[candidate] - times_s[k]) >= _APART_S for k in kept):
            kept.append(int(candidate))
    kept.sort()
    return Hits(
        times_s=times_s[kept],
        classes=logits[kept, : len(CLASSES)].argmax(axis=1),
        peaks=peaks(samples, times_s[kept]),
    )
