"""Where windows end: at the last change of shot that they reach, or else at the model's length.

A window is conditioned on one acoustics, and its context on what was on screen before; a border at a change
of shot is where neither the picture nor the sound continues. Two windows in a row are at least as long as one
without changes of shot, so that a film of many shots has at most twice as many. Source: our choice.
"""

import bisect
from collections.abc import Sequence

from dualdub_jax.config import GridConfig
from dualdub_jax.dubbing.window import Window, context_frames, least_new_frames


def capacity(start: int, grid: GridConfig) -> int:
    """The most new frames of a window at `start`."""
    return grid.num_frames - min(start, context_frames(grid))


def window_between(start: int, end: int, grid: GridConfig) -> Window:
    """A window without words, with its context."""
    return Window(start, end - start, min(start, context_frames(grid)))


def last_shot(shots: Sequence[int], earliest: int, latest: int) -> int | None:
    """The last change of shot in [earliest, latest]; `shots` are first frames of shots, rising."""
    index = bisect.bisect_right(shots, latest) - 1
    return shots[index] if index >= 0 and shots[index] >= earliest else None


def shot_in_reach(start: int, latest: int, grid: GridConfig, shots: Sequence[int]) -> int | None:
    """The change of shot at which a window at `start` ends, not later than `latest`; None: there is none."""
    return last_shot(shots, start + least_new_frames(grid), min(start + capacity(start, grid), latest))


def next_window(start: int, end: int, grid: GridConfig, shots: Sequence[int]) -> Window:
    """The next window of a stretch of frames up to `end`; the last one of the stretch is not very short."""
    latest, most = end - least_new_frames(grid), start + capacity(start, grid)
    stop = shot_in_reach(start, latest, grid, shots)
    if stop is None:
        stop = end if most >= end else min(most, latest)
    return window_between(start, stop, grid)
