"""Whether the tracks are exactly as long as the film."""

from collections.abc import Mapping, Sequence

import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value


def _worst(values: Sequence[np.ndarray]) -> float:
    return float(np.max(values))


class Duration(ClipMetric):
    """Samples by which the worst of a clip's tracks is too long or too short; has to be 0.

    Counted are speech, background and mixture, those that are given, at 16 kHz. The figure is the worst
    clip's, not the mean: one soundtrack that drifts off its film is a fault. Source: our choice.
    """

    name = "duration"
    figures = (
        Figure(
            "duration_error_samples",
            unit="samples",
            better="lower",
            about="Largest difference between a track's length and the film's, of the worst clip.",
            summarise=_worst,
            paired_floor=False,
        ),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[]; None where no track is given."""
        return {"duration_error_samples": _error(clip)}


def _error(clip: Clip) -> Value:
    tracks = [t for t in (clip.speech, clip.background, clip.mixture) if t is not None]
    if not tracks:
        return None
    return np.array(float(max(abs(len(track) - clip.num_samples) for track in tracks)))
