"""Which clips did worst on a figure: those that are worth looking at and listening to."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from dualdub_jax.evaluation.contracts.results import OURS, TRUE


def worst_clips(clips: Sequence[Mapping[str, Any]], figure: str, better: str, count: int) -> list[int]:
    """Ranks the clips of "ours" by one figure.

    Where neither direction is better, the worst are the farthest from their own true audio, or from the
    median clip where the truth has no value.

    Args:
        clips: as in the results.
        figure: its name.
        better: "higher", "lower" or "neither".
        count: at most this many.

    Returns:
        Indices into `clips`, worst first, ties in the order of the suite. Clips without a value and clips
        that are as good as the best one are left out: there is nothing to hear.
    """
    values = {i: clip_figure(clip, OURS, figure) for i, clip in enumerate(clips)}
    known = {i: value for i, value in values.items() if value is not None}
    if not known:
        return []
    if better == "neither":
        median = statistics.median(known.values())
        badness = {}
        for i, value in known.items():
            true = clip_figure(clips[i], TRUE, figure)
            badness[i] = abs(value - (median if true is None else true))
    else:
        badness = {i: value if better == "lower" else -value for i, value in known.items()}
    least = min(badness.values())
    ranked = sorted((i for i in badness if badness[i] > least), key=lambda i: (-badness[i], i))
    return ranked[:count] if len(known) > 1 else list(known)


def clip_figure(clip: Mapping[str, Any], system: str, figure: str) -> float | None:
    """A clip's number, or None where there is none."""
    value = (clip["figures"].get(system) or {}).get(figure)
    return float(value) if value is not None and math.isfinite(value) else None
