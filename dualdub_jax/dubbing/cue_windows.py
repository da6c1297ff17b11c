"""The plan of a film with a timed script: every passage has windows of its own.

A window speaks the text of at most one passage and only while it is due, so that the model knows which words
belong to which time, in which voice. A pause of up to a second before a passage is part of its window; longer
ones have windows of their own, without speech. A passage longer than a window is divided evenly, and its
words by their times. Source: our choice.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

from dualdub_jax.config import GridConfig
from dualdub_jax.dubbing.passages import Passage
from dualdub_jax.dubbing.tiling import capacity, last_shot, shot_in_reach, window_between
from dualdub_jax.dubbing.window import CountTokens, Window, least_new_frames
from dualdub_jax.errors import UserError
from dualdub_jax.text.words import Word


def plan_cue_windows(
    num_frames: int,
    source: str,
    passages: Sequence[Passage],
    grid: GridConfig,
    count_tokens: CountTokens,
    shots: Sequence[int],
) -> list[Window]:
    """Plans the calls of the model for a film with cues.

    Args:
        num_frames: of the film, on the grid.
        source: the script, for messages.
        passages: in order of time.
        grid, count_tokens, shots: see `windows.plan_windows`.

    Raises:
        UserError: a passage has more tokens than fit the windows of its time.
    """
    spans = _frame_spans(passages, num_frames, grid)
    windows: list[Window] = []
    start = 0

    def add_pause(end: int) -> int:
        stop = shot_in_reach(start, end, grid, shots) or min(end, start + capacity(start, grid))
        windows.append(window_between(start, stop, grid))
        return stop

    for i, (passage, (first, end)) in enumerate(zip(passages, spans, strict=True)):
        while first > start and _needs_pause(start, first, end, grid):
            start = add_pause(first)
        parts = _divide(source, passage, start, (first, end), grid, count_tokens)
        # The last part extends into the pause behind it, whose windows are then fewer.
        following = spans[i + 1][0] if i + 1 < len(spans) else num_frames
        last = parts[-1].start_frame
        stop = max(end, min(following, last + capacity(last, grid)))
        start = last_shot(shots, end, stop) or stop
        parts[-1] = dataclasses.replace(parts[-1], num_new=start - last)
        windows += parts
    while start < num_frames:
        start = add_pause(num_frames)
    return windows


def _frame_spans(passages: Sequence[Passage], num_frames: int, grid: GridConfig) -> list[tuple[int, int]]:
    """Frames [first, end) in which each passage is due; never empty, in order, without overlap."""
    spans, before = [], 0
    for passage in passages:
        first = min(max(before, round(passage.start_s * grid.frame_rate)), num_frames - 1)
        end = min(max(first + 1, round(passage.end_s * grid.frame_rate)), num_frames)
        spans.append((first, end))
        before = end
    return spans


def _needs_pause(start: int, first: int, end: int, grid: GridConfig) -> bool:
    """Whether the frames before `first` need a window of their own."""
    only_fits_alone = end - first <= capacity(first, grid) < end - start
    return first - start > least_new_frames(grid) or only_fits_alone


def _divide(
    source: str,
    passage: Passage,
    start: int,
    due: tuple[int, int],
    grid: GridConfig,
    count_tokens: CountTokens,
) -> list[Window]:
    """The windows of one passage, which begin at `start` and end with it."""
    first, end = due
    length = end - start
    num_parts = 1 if length <= capacity(start, grid) else -(-length // capacity(end, grid))
    while True:
        ends = [start + length * (i + 1) // num_parts for i in range(num_parts)]
        starts = [start, *ends[:-1]]
        spoken = _by_time(passage, ends, grid.frame_rate)
        if max(map(count_tokens, spoken)) <= grid.num_script_tokens:
            return [
                _window(part_start, part_end, grid, words, max(first, part_start))
                for part_start, part_end, words in zip(starts, ends, spoken, strict=True)
            ]
        if num_parts >= length // least_new_frames(grid):
            num_tokens = count_tokens(passage.words)
            raise UserError(
                f"{source}: {passage.utterance.name} has {num_tokens} tokens, but the model reads at most "
                f"{grid.num_script_tokens} at a time; shorten the text or divide it into longer cues"
            )
        num_parts += 1


def _window(start: int, end: int, grid: GridConfig, words: Sequence[Word], due_from: int) -> Window:
    window = window_between(start, end, grid)
    return dataclasses.replace(window, due=(due_from, end)).saying(words) if words else window


def _by_time(passage: Passage, ends: Sequence[int], frame_rate: Fraction) -> list[list[Word]]:
    """Assigns each word to the part at its time; `ends` are the frames behind the parts."""
    chosen: list[list[Word]] = [[] for _ in ends]
    for word, time_s in zip(passage.words, _due_times(passage), strict=True):
        index = next((i for i, end in enumerate(ends) if time_s < end / frame_rate), len(ends) - 1)
        chosen[index].append(word)
    return chosen


def _due_times(passage: Passage) -> list[Fraction]:
    """The middle of each word, at a constant rate of speech."""
    total = sum(len(word.text) + 1 for word in passage.words)
    times, before = [], 0
    for word in passage.words:
        middle = Fraction(2 * before + len(word.text), 2 * total)
        times.append(passage.start_s + middle * (passage.end_s - passage.start_s))
        before += len(word.text) + 1
    return times
