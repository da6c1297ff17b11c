"""Analyses of tracks that are computed once: all systems of an evaluation share truth and references."""

import collections
import functools
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")


def once_per_track(max_size: int = 4096) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Keeps the results of a function of a waveform, by the waveform's content.

    Results must not be changed by their callers.

    Args:
        max_size: how many results are kept; the least recently used are forgotten.

    Returns:
        A decorator for functions whose first argument is float[S]; further arguments must be hashable.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        kept: collections.OrderedDict[Any, Result] = collections.OrderedDict()

        @functools.wraps(function)
        def remembered(track: np.ndarray, *args: Any) -> Result:
            content = np.ascontiguousarray(track)
            key = (hashlib.blake2b(content.tobytes(), digest_size=16).digest(), content.dtype.str, *args)
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
            kept[key] = result = function(track, *args)
            if len(kept) > max_size:
                kept.popitem(last=False)
            return result

        return remembered

    return decorate
