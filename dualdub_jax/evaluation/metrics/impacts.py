"""Impact sounds: onset F1, class accuracy, and correlation of loudness with impact speed.

Requires a rendered world with annotated contacts (`Clip.world["contacts"]`: "time_s", "class", "speed"). Hits
are detected in the background track by `impact_sounds.detect_hits` and matched one-to-one with contacts
within 60 ms. Counts are summed over clips, so F1 is a micro-average.

Ceilings on the world's 256 test clips (906 contacts), by `fit_impact_sounds.py`: true tracks F1 .991 and
.996 (seen and unseen voices), class accuracy 1.000, loudness-speed correlation .96 and .95; through a codec
of the first checkpoint F1 .98, class accuracy .99, loudness-speed correlation .78.

Limits: the detector was fitted to this world's sounds (training split), so it misses hits unlike any of them.
Contacts masked by rain or ambience count as contacts. Read every figure beside the ceiling.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dualdub_jax.evaluation.analysis import onsets
from dualdub_jax.evaluation.contracts.clips import FRAME_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value, ratio
from dualdub_jax.evaluation.listeners import impact_sounds

TOLERANCE_S = 0.06
# The world ducks its background under speech by up to 3 dB; ducking saturates at this mouth opening, smoothed
# over half a second.
_DUCKED_FROM = 0.5
_DUCKING_FRAMES = 13


def onset_f1(values: Sequence[np.ndarray]) -> float:
    """F1 of float64[3] values (matched pairs, detected hits, contacts). NaN without hits and contacts."""
    pairs, detected, true = np.sum(values, axis=0)
    return float(2 * pairs / (detected + true)) if detected + true else float("nan")


def _within_class_correlation(values: Sequence[np.ndarray]) -> float:
    """Partial correlation of level and speed, given class and ducking.

    Args:
        values: one a clip, float64[K, 4]: class, level in dB, speed in dB, speech activity in [0, 1].

    Returns:
        Pearson's correlation of the residuals of level and speed after regression on class and speech
        activity; NaN with too few hits or without residual variance.
    """
    rows = np.concatenate([np.asarray(value).reshape(-1, 4) for value in values])
    kinds = np.unique(rows[:, 0])
    if len(rows) < len(kinds) + 4:
        return float("nan")
    known = np.concatenate([rows[:, :1] == kinds, rows[:, 3:]], axis=1).astype(np.float64)
    measured = rows[:, 1:3]
    rest = measured - known @ np.linalg.lstsq(known, measured, rcond=None)[0]
    if (rest.std(axis=0) < 1e-6).any():
        return float("nan")
    return float(np.corrcoef(rest.T)[0, 1])


def _share(value: np.ndarray) -> float:
    return float(value[0] / value[1]) if value[1] else float("nan")


class Impacts(ClipMetric):
    """Onsets, classes and loudness of impacts in a rendered world."""

    name = "impacts"
    figures = (
        Figure(
            "onset_f1",
            "",
            "higher",
            "F1 of detected hits against contacts, matched one-to-one within 60 ms; micro-average",
            onset_f1,
            lambda value: onset_f1([value]),
        ),
        Figure("onset_precision", "", "higher", "detected hits that match a contact", ratio, _share),
        Figure("onset_recall", "", "higher", "contacts matched by a detected hit", ratio, _share),
        Figure(
            "impact_class_accuracy",
            "",
            "higher",
            "matched hits classified as the object that was hit (linear classifier, 6 classes)",
            ratio,
            _share,
        ),
        Figure(
            "loudness_speed_correlation",
            "",
            "higher",
            "partial correlation of the peak level of matched hits (dB) with the contact's speed (dB), "
            "given class and ducking under speech",
            _within_class_correlation,
            lambda value: _within_class_correlation([value]),
            num_resamples=300,
        ),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """Counts and levels by figure; no entry without a background track or annotated contacts."""
        self.weights_sha256 = impact_sounds.coefficients_sha256()
        if clip.background is None or clip.world is None or "contacts" not in clip.world:
            return {}
        return _score_one(clip.background, clip.world)


def _score_one(background: np.ndarray, world: Mapping[str, Any]) -> dict[str, Value]:
    contacts = sorted(world["contacts"], key=lambda contact: contact["time_s"])
    hits = impact_sounds.detect_hits(background)
    true_s = np.array([contact["time_s"] for contact in contacts])
    pairs = onsets.match(hits.times_s, true_s, TOLERANCE_S)
    right = sum(impact_sounds.CLASSES[hits.classes[i]] == contacts[j]["class"] for i, j in pairs)
    speaking = _speaking(world.get("mouth"), true_s)
    levels = [
        (
            _class_index(contacts[j]["class"]),
            20 * np.log10(hits.peaks[i] + 1e-5),
            20 * np.log10(max(contacts[j]["speed"], 1e-3)),
            speaking[j],
        )
        for i, j in pairs
    ]
    return {
        "onset_f1": np.array([len(pairs), len(hits.times_s), len(contacts)], float),
        "onset_precision": np.array([len(pairs), len(hits.times_s)], float),
        "onset_recall": np.array([len(pairs), len(contacts)], float),
        "impact_class_accuracy": np.array([right, len(pairs)], float) if pairs else None,
        "loudness_speed_correlation": np.array(levels) if pairs else None,
    }


def _class_index(kind: str) -> int:
    """Index of a class; -1 for one unknown to the classifier."""
    return impact_sounds.CLASSES.index(kind) if kind in impact_sounds.CLASSES else -1


def _speaking(mouth: Sequence[float] | None, times_s: np.ndarray) -> np.ndarray:
    """Speech activity around each time, 0 to 1, which controls the world's ducking."""
    if mouth is None or not len(mouth):
        return np.zeros(len(times_s))
    kernel = np.hanning(_DUCKING_FRAMES) / np.hanning(_DUCKING_FRAMES).sum()
    smooth = np.convolve(np.pad(mouth, _DUCKING_FRAMES // 2, mode="edge"), kernel, mode="valid")
    at_times = np.interp(times_s * FRAME_RATE_HZ, np.arange(len(smooth)), smooth)
    return np.clip(at_times / _DUCKED_FROM, 0, 1)
