"""How fast soundtracks are made: seconds of work for a second of film."""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value, ratio


class RealTime(ClipMetric):
    """Wall seconds of generation over seconds of film, summed over clips; below 1 is faster than realtime.

    Counted are generating tokens and decoding them to waveforms, one film at a time, on the machine that
    runs the evaluation; reading the film and compiling are not (a film that needs a new compiled program is
    made twice and the second time counts). Of systems that do not say how long they took there is no figure.

    Limits: compare only on one machine that does nothing else. Source: our choice; the field's "RTF".
    """

    name = "realtime"
    figures = (
        Figure(
            "rtf",
            unit="s/s",
            better="lower",
            about="Seconds of generation and decoding for a second of film, compilation excluded.",
            summarise=ratio,
            clip_value=lambda value: float(value[0] / value[1]),
            paired_floor=False,
        ),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[2] of each clip: seconds of work, seconds of film."""
        return {"rtf": _seconds(clip)}


def _seconds(clip: Clip) -> Value:
    if clip.generation_s is None or not clip.num_samples:
        return None
    return np.array([clip.generation_s, clip.duration_s])
