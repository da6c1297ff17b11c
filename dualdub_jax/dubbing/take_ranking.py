"""Ranking the takes of a film by what can be measured without the true sound.

Takes with fewer utterances that are inaudible, hurried or out of time come first. Among equals, each score
gives a take as many points as there are better ones, and the fewest points win; a take without a score has
the points of the last. Source: our choice.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dualdub_jax.dubbing.take import FinishedTake

FAULTS = "faults of speech"
TIMING_ERROR = "timing error, ms"


def take_scores(take: FinishedTake) -> dict[str, float | None]:
    """All scores of a take by name; None: cannot be had of this film.

    Returns:
        `FAULTS` and `TIMING_ERROR`, of which less is better, then `take.scores`, of which more is better.
    """
    errors_s = [spoken.error_s for spoken in take.spoken if spoken.error_s is not None]
    return {
        FAULTS: sum(spoken.warning is not None for spoken in take.spoken) if take.spoken else None,
        TIMING_ERROR: 1000 * float(np.mean(errors_s)) if errors_s else None,
        **take.scores,
    }


def _all_scores(takes: Mapping[int, FinishedTake]) -> dict[int, dict[str, float | None]]:
    """The scores of all takes, by the same names: a take may lack some that others have."""
    scores = {number: take_scores(take) for number, take in takes.items()}
    names = dict.fromkeys(name for found in scores.values() for name in found)
    return {number: dict.fromkeys(names) | found for number, found in scores.items()}


def rank_takes(takes: Mapping[int, FinishedTake]) -> list[int]:
    """The numbers of takes, the best first; of equals, the lowest number."""
    scores = _all_scores(takes)
    points = dict.fromkeys(takes, 0)
    for name in next(iter(scores.values())):
        sign = 1 if name in (FAULTS, TIMING_ERROR) else -1
        values = {
            number: np.inf if found[name] is None else sign * found[name] for number, found in scores.items()
        }
        for number in points:
            points[number] += sum(value < values[number] for value in values.values())
    return sorted(takes, key=lambda number: (scores[number][FAULTS] or 0, points[number], number))


def take_table(takes: Mapping[int, FinishedTake], ranked: Sequence[int]) -> list[str]:
    """Lines of a table of takes and their scores, in the order of `ranked`."""
    scores = _all_scores(takes)
    rows = [("take", "seed", *scores[ranked[0]])]
    for number in ranked:
        values = scores[number].values()
        numbers = ("-" if value is None else f"{value:.3g}" for value in values)
        rows.append((str(number), str(takes[number].seed), *numbers))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
