"""Scenes: stretches of a film in one place, which have one acoustics.

A scene is a run of shots that are linked: two shots are if their colours are alike and little time lies
between them, and the shots between two linked ones belong to their scene, as the answers in a dialogue do
that is shown from two sides. Black shots, as between scenes, are linked to none. Scenes shorter than a few
seconds belong to the one before. The colours do not tell the sound of a place: they only tell where it may
change. Source: overlapping links after Hanjalic, Lagendijk and Biemond, "Automated high-level movie
segmentation for advanced video-retrieval systems", 1999; numbers are our choice.
"""

import bisect
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dualdub_jax.dubbing.progress import Advance
from dualdub_jax.dubbing.window import Window
from dualdub_jax.media.film import Film, FilmReader
from dualdub_jax.media.frames import frames_before
from dualdub_jax.media.shots import Shot, read_shots

ALIKE = 0.7  # shares of colours in common
BLACK = 0.9  # share of the darkest colour
_REACH_S = 20  # between linked shots
_LEAST_S = 4


def read_film_shots(film: Film, advance: Advance) -> list[Shot]:
    """Decodes a film for its shots, all of it, for the plan depends on them; `advance` shows progress."""

    def counted(pictures: Iterator[tuple[Fraction, Any]]) -> Iterator[tuple[Fraction, Any]]:
        for time_s, picture in pictures:
            advance(float(time_s / film.duration_s))
            yield time_s, picture

    with FilmReader(film.path) as reader:
        # Pictures that no other needs are left out: half the time, and encoders do not begin a shot with one.
        reader.stream.codec_context.skip_frame = "NONREF"
        return read_shots(counted(reader.pictures()))


def find_scenes(shots: Sequence[Shot], duration_s: Fraction) -> list[Fraction]:
    """When scenes begin, seconds; the first at 0.

    Args:
        shots: of the whole film.
        duration_s: of the film.
    """
    starts_s, last_linked = [], -1
    for i, shot in enumerate(shots):
        if i > last_linked:
            starts_s.append(shot.start_s)
        last_linked = max(last_linked, _last_link(shots, i))
    spans = itertools.pairwise([*starts_s[1:], duration_s])
    # What follows a short first scene belongs to it.
    long = [start_s for start_s, end_s in spans if end_s - start_s >= _LEAST_S and start_s >= _LEAST_S]
    return [Fraction(0), *long]


def _last_link(shots: Sequence[Shot], index: int) -> int:
    """The last shot that is linked to one, or itself."""
    end_s = shots[index + 1].start_s if index + 1 < len(shots) else None
    last = index
    for other in range(index + 1, len(shots)):
        if shots[other].start_s > end_s + _REACH_S:
            break
        if _are_alike(shots[index].colours, shots[other].colours):
            last = other
    return last


def _are_alike(colours: np.ndarray, others: np.ndarray) -> bool:
    common = np.minimum(colours, others)
    return common.sum() >= ALIKE and common[0] < BLACK


def shot_frames(shots: Sequence[Shot], frame_rate: Fraction) -> list[int]:
    """The frames of a time grid with which shots begin, but for the first shot."""
    return sorted({frames_before(shot.start_s * frame_rate) for shot in shots[1:]} - {0})


def assign_scenes(
    windows: Sequence[Window], starts_s: Sequence[Fraction], frame_rate: Fraction
) -> list[Window]:
    """Windows with the scene on screen in their middle; scenes without a window are left out.

    Args:
        windows: of a film.
        starts_s: see `find_scenes`.
        frame_rate: of the time grid.
    """
    numbers: dict[int, int] = {}
    assigned = []
    for window in windows:
        middle_s = Fraction(window.start_frame + window.end_frame, 2) / frame_rate
        scene = bisect.bisect_right(starts_s, middle_s) - 1
        assigned.append(dataclasses.replace(window, scene=numbers.setdefault(scene, len(numbers))))
    return assigned
