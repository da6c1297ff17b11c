"""Ranks clips by their value of a figure, worst first, for inspection and listening."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from dualdub_jax.evaluation.contracts.results import OURS, TRUE


def worst_clips(clips: Sequence[Mapping[str, Any]], figure: str, better: str, count: int) -> list[int]:
    """Ranks the clips of "ours" by one figure.

    For descriptive figures, the worst clips are those farthest from the value of their true audio, or from
    the median if the true audio has none.

    Args:
        clips: as in the results.
        figure: its name.
        better: "higher", "lower" or "neither".
        count: maximum number of clips.

    Returns:
        Indices into `clips`, worst first, ties in the order of the suite. Clips without a value and clips
        that equal the best one are omitted.
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
    """A clip's number, or None if undefined."""
    value = (clip["figures"].get(system) or {}).get(figure)
    return float(value) if value is not None and math.isfinite(value) else None
