"""Does the speech move with the puppet's mouth, and how late is it?

Only for rendered worlds, where the opening of the mouth is known (`Clip.world["mouth"]`, one value a
frame). The speech track's envelope (`speech_envelope.py`, the curve that opens the world's mouths) is
compared with it.

- `lip_correlation`: Pearson's correlation at no delay, the mean over clips. Silence where the mouth moves
  is 0.
- `lip_lag_ms`: the delay with the highest correlation within half a second; the median of its size over
  clips, so that a few clips whose speech fits nowhere do not decide it. A silent track has no delay.
- `lip_lag_signed_ms`: the median with its sign; above 0: the sound is late.

Limits: an envelope knows when and how loud, not what: other words in the same rhythm score as well.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dualdub_jax.evaluation.analysis.cross_correlation import agreement
from dualdub_jax.evaluation.analysis.speech_envelope import speech_envelope
from dualdub_jax.evaluation.contracts.clips import FRAME_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value

_OPEN = 0.2  # a mouth that never opens so far says nothing


def median_size(values: Sequence[np.ndarray]) -> float:
    """The median of |x| over clips of float64[] values."""
    return float(np.median(np.abs(np.asarray(values, np.float64).reshape(-1))))


def median(values: Sequence[np.ndarray]) -> float:
    """The median over clips of float64[] values."""
    return float(np.median(np.asarray(values, np.float64).reshape(-1)))


class LipSync(ClipMetric):
    """Speech against the known mouth of a rendered world."""

    name = "lip_sync"
    figures = (
        Figure(
            "lip_correlation",
            "",
            "higher",
            "correlation of the speech's envelope with the known mouth at no delay; clips that speak",
        ),
        Figure(
            "lip_lag_ms",
            "ms",
            "lower",
            "size of the delay at which they correlate best, within 500 ms; median over clips",
            median_size,
            lambda value: abs(float(value)),
        ),
        Figure("lip_lag_signed_ms", "ms", "neither", "the delay with its sign; above 0: late", median),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """See `ClipMetric.score_clip`; nothing without a speech track or without a mouth that moves."""
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
