"""Lip sync with an annotated mouth: correlation and lag of mouth opening and speech envelope.

Requires a rendered world (`Clip.world["mouth"]`, one opening a frame). The opening is compared with the
envelope of the speech track (`speech_envelope.py`, the curve that animates the world's mouths).

- `lip_correlation`: Pearson's correlation at zero lag, mean over clips. A silent track scores 0.
- `lip_lag_ms`: absolute lag of the highest correlation within 500 ms; the median over clips, which is robust
  to clips whose speech matches nowhere. A silent track has no lag.
- `lip_lag_signed_ms`: the median of the signed lag; positive: the audio is late.

Limits: an envelope carries timing and level but no content; other words in the same rhythm score equally.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dualdub_jax.evaluation.analysis.cross_correlation import agreement
from dualdub_jax.evaluation.analysis.speech_envelope import speech_envelope
from dualdub_jax.evaluation.contracts.clips import FRAME_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value

_OPEN = 0.2  # a mouth that never opens this far carries no signal


def median_size(values: Sequence[np.ndarray]) -> float:
    """The median of |x| over clips of float64[] values."""
    return float(np.median(np.abs(np.asarray(values, np.float64).reshape(-1))))


def median(values: Sequence[np.ndarray]) -> float:
    """The median over clips of float64[] values."""
    return float(np.median(np.asarray(values, np.float64).reshape(-1)))


class LipSync(ClipMetric):
    """Speech envelope against the annotated mouth of a rendered world."""

    name = "lip_sync"
    figures = (
        Figure(
            "lip_correlation",
            "",
            "higher",
            "correlation of speech envelope and annotated mouth opening at zero lag; clips with speech",
        ),
        Figure(
            "lip_lag_ms",
            "ms",
            "lower",
            "absolute lag of their highest correlation, within 500 ms; median over clips",
            median_size,
            lambda value: abs(float(value)),
        ),
        Figure("lip_lag_signed_ms", "ms", "neither", "the signed lag; positive: audio late", median),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[] by figure; no entry without a speech track or a moving mouth."""
        if clip.speech is None or clip.world is None or clip.world.get("mouth") is None:
            return {}
        mouth = np.asarray(clip.world["mouth"], np.float64)
        if mouth.max(initial=0) < _OPEN:
            return {}
        found = agreement(mouth, speech_envelope(clip.speech), FRAME_RATE_HZ)
        if found is None:
            return {}
        lag = None if found.lag_ms is None else np.float64(found.lag_ms)
        return {
            "lip_correlation": np.float64(found.correlation),
            "lip_lag_ms": lag,
            "lip_lag_signed_ms": lag,
        }
