"""Regions of a film that are generated anew: given in seconds, or by the number of a cue."""

import math
import numbers
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from dualdub_jax.dubbing.utterances import TOLERANCE_S, Utterance
from dualdub_jax.errors import UserError

LEAST_S = Fraction(1, 10)
_TIME = r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)"  # [[hours:]minutes:]seconds
_SPAN = re.compile(rf"\s*{_TIME}\s*-\s*{_TIME}\s*")
_CUE = re.compile(r"\s*cue:\s*(\d+)\s*", re.IGNORECASE)


def parse_region(text: str) -> dict[str, Any]:
    """Reads the argument of `--retake`.

    Args:
        text: "12.0-15.5" or "1:02-1:05.5", start and end; or "cue:7".

    Returns:
        "region" or "cue", as arguments of `Project.retake`.

    Raises:
        UserError: it is neither.
    """
    if match := _CUE.fullmatch(text):
        return {"cue": int(match[1])}
    if match := _SPAN.fullmatch(text):
        start, end = match.groups()[:3], match.groups()[3:]
        return {"region": tuple(_seconds(*part) for part in (start, end))}
    raise UserError(
        f"--retake: expected start and end in seconds, such as 12.0-15.5, or a cue, such as cue:7; "
        f"got {text!r}"
    )


def _seconds(hours: str | None, minutes: str | None, seconds: str) -> float:
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds)


def find_region(
    duration_s: Fraction,
    utterances: Sequence[Utterance],
    last_cue: int,
    region: tuple[float, float] | None = None,
    cue: int | None = None,
) -> tuple[Fraction, Fraction]:
    """The region that a retake replaces.

    Args:
        duration_s: of the film.
        utterances: of the film.
        last_cue: the highest number of a cue in its script; 0: the script has none.
        region: start and end, seconds; or None.
        cue: number of a cue, from 1; or None. Its region is that of its utterances, with the tolerance on
            both sides as far as no other utterance is nearer.

    Returns:
        Start and end, seconds, inside the film.

    Raises:
        UserError: neither or both are given; the region is empty, too short or outside of the film; or there
            is no such cue.
    """
    if (region is None) == (cue is None):
        raise UserError("retake: give either a region, as start and end in seconds, or a cue")
    if cue is not None:
        if not isinstance(cue, int):
            raise UserError(f"cue {cue!r}: give the number of a cue, such as 7")
        return _cue_region(duration_s, utterances, last_cue, cue)
    if len(region) != 2 or not all(isinstance(time_s, numbers.Real) for time_s in region):
        raise UserError(f"region {region!r}: give start and end in seconds, such as (12.0, 15.5)")
    start_s, end_s = region
    name = f"region {start_s:g}-{end_s:g}"
    if not (math.isfinite(start_s) and math.isfinite(end_s) and start_s < end_s):
        raise UserError(f"{name}: is empty; give a start before the end, such as 12.0-15.5")
    if start_s < 0 or end_s > duration_s + Fraction(1, 1000):
        raise UserError(
            f"{name}: is not inside the film, which is {float(duration_s):.3f} s long; give times from 0 to "
            "its end"
        )
    # The decimal that was meant: 6.2 as a float is a little more.
    start, end = Fraction(str(float(start_s))), min(Fraction(str(float(end_s))), duration_s)
    if end - start < LEAST_S:
        raise UserError(f"{name}: is shorter than {float(LEAST_S):g} s; give a longer one")
    return start, end


def _cue_region(
    duration_s: Fraction, utterances: Sequence[Utterance], last_cue: int, cue: int
) -> tuple[Fraction, Fraction]:
    indices = [i for i, utterance in enumerate(utterances) if cue in utterance.cues]
    if not indices:
        if 1 <= cue <= last_cue:
            raise UserError(f"cue {cue}: has no words that were spoken; give a region in seconds")
        known = f"the script has cues 1 to {last_cue}" if last_cue else "the script has no cues"
        raise UserError(f"cue {cue}: {known}; give one of them, or a region in seconds")
    first, last = indices[0], indices[-1]  # a cue of several speakers has an utterance for each turn
    start, end = utterances[first].start_s - TOLERANCE_S, utterances[last].end_s + TOLERANCE_S
    if first > 0:
        start = max(start, (utterances[first - 1].end_s + utterances[first].start_s) / 2)
    if last + 1 < len(utterances):
        end = min(end, (utterances[last].end_s + utterances[last + 1].start_s) / 2)
    return max(start, Fraction(0)), min(end, duration_s)
