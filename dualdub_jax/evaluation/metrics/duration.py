"""Duration error of the tracks against the film."""

from collections.abc import Mapping, Sequence

import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value


def _worst(values: Sequence[np.ndarray]) -> float:
    return float(np.max(values))


class Duration(ClipMetric):
    """The largest length error of a clip's tracks in samples at `clips.SAMPLE_RATE_HZ`; must be 0.

    Covers the given ones of speech, background and mixture. The figure is the maximum over clips, not the
    mean, since a single soundtrack that loses sync is a fault. Source: our choice.
    """

    name = "duration"
    figures = (
        Figure(
            "duration_error_samples",
            unit="samples",
            better="lower",
            about="Largest difference between a track's length and the film's; maximum over clips.",
            summarise=_worst,
            num_resamples=0,
            paired_floor=False,
        ),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[], samples; None where no track is given."""
        return {"duration_error_samples": _error(clip)}


def _error(clip: Clip) -> Value:
    tracks = [t for t in (clip.speech, clip.background, clip.mixture) if t is not None]
    if not tracks:
        return None
    return np.array(float(max(abs(len(track) - clip.num_samples) for track in tracks)))
