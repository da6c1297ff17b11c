"""Real-time factor of generation."""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value, ratio


class RealTime(ClipMetric):
    """Seconds of generation per second of film, summed over clips; below 1 is faster than realtime.

    Includes token generation and waveform decoding, one film at a time, on the evaluating machine. Excludes
    reading the film and compilation: a film that triggers compilation is generated twice and the second run
    counts. Systems without `generation_s` have no figure.

    Limits: comparable only on one otherwise idle machine. Source: the field's RTF.
    """

    name = "realtime"
    figures = (
        Figure(
            "rtf",
            unit="s/s",
            better="lower",
            about="Seconds of generation and decoding per second of film, compilation excluded.",
            summarise=ratio,
            clip_value=lambda value: float(value[0] / value[1]),
            paired_floor=False,
        ),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[2]: seconds of generation, seconds of film."""
        return {"rtf": _seconds(clip)}


def _seconds(clip: Clip) -> Value:
    if clip.generation_s is None or not clip.num_samples:
        return None
    return np.array([clip.generation_s, clip.duration_s])
