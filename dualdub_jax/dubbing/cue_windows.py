"""The plan of a film with a timed script: every utterance has windows of its own.

A window speaks the text of at most one utterance and only while it is due, so that the model knows which
words belong to which time. A pause of up to a second before an utterance is part of its window; longer ones
have windows of their own, without speech. An utterance longer than a window is divided evenly, and its words
by their times. Source: our choice.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

from dualdub_jax.config import GridConfig
from dualdub_jax.dubbing.utterances import CueGroup, group_cues
from dualdub_jax.dubbing.window import (
    MAX_RATE,
    CountTokens,
    Window,
    context_frames,
    count_letters,
    least_new_frames,
    most_letters,
)
from dualdub_jax.errors import UserError
from dualdub_jax.text.script import Cue, Script, Word


def plan_cue_windows(
    num_frames: int, script: Script, grid: GridConfig, count_tokens: CountTokens
) -> list[Window]:
    """Plans the calls of the model for a film with cues; see `windows.plan_windows`.

    Raises:
        UserError: a cue has more text than can be spoken in its time.
    """
    check_cue_rates(script)
    groups = group_cues(script)
    spans = _frame_spans(groups, num_frames, grid)
    windows: list[Window] = []
    start = 0
    for i, (group, (first, end)) in enumerate(zip(groups, spans, strict=True)):
        while first > start and _needs_pause(start, first, end, grid):
            windows.append(_window(start, min(first, start + _capacity(start, grid)), grid))
            start = windows[-1].end_frame
        parts = _divide(script.source, group, start, (first, end), grid, count_tokens)
        # The last part extends into the pause behind it, whose windows are then fewer.
        following = spans[i + 1][0] if i + 1 < len(spans) else num_frames
        stop = max(end, min(following, parts[-1].start_frame + _capacity(parts[-1].start_frame, grid)))
        parts[-1] = dataclasses.replace(parts[-1], num_new=stop - parts[-1].start_frame)
        windows += parts
        start = stop
    while start < num_frames:
        windows.append(_window(start, min(num_frames, start + _capacity(start, grid)), grid))
        start = windows[-1].end_frame
    return windows


def check_cue_rates(script: Script) -> None:
    """Checks that every cue, and cues that overlap together, can be spoken in their time.

    Raises:
        UserError: one cannot; names it, its letters and the most that fits.
    """
    for group in group_cues(script):
        _check_rate(script.source, group)


def _check_rate(source: str, group: CueGroup) -> None:
    """Refuses a cue, or cues that overlap, with more text than can be spoken in its time."""
    parts = [CueGroup((cue,), (number,)) for cue, number in zip(group.cues, group.numbers, strict=True)]
    for part in (*parts, group):
        utterance = part.utterance
        seconds = utterance.end_s - utterance.start_s
        letters = count_letters([word for cue in part.cues for word in cue.words])
        if letters > (most := most_letters(seconds)):
            needed_s = -(-100 * letters // MAX_RATE) / 100
            raise UserError(
                f"{source}: {utterance.name} has {letters} letters, {float(letters / seconds):.0f} a second, "
                f"but at most {most} can be spoken in {float(seconds):.2f} s ({MAX_RATE} a second); shorten "
                f"the text or give it {needed_s:.2f} s"
            )


def _frame_spans(groups: Sequence[CueGroup], num_frames: int, grid: GridConfig) -> list[tuple[int, int]]:
    """Frames [first, end) in which each group is due; never empty, in order, without overlap."""
    spans, before = [], 0
    for group in groups:
        utterance = group.utterance
        first = min(max(before, round(utterance.start_s * grid.frame_rate)), num_frames - 1)
        end = min(max(first + 1, round(utterance.end_s * grid.frame_rate)), num_frames)
        spans.append((first, end))
        before = end
    return spans


def _capacity(start: int, grid: GridConfig) -> int:
    """The most new frames of a window at `start`."""
    return grid.num_frames - min(start, context_frames(grid))


def _needs_pause(start: int, first: int, end: int, grid: GridConfig) -> bool:
    """Whether the frames before `first` need a window of their own."""
    only_fits_alone = end - first <= _capacity(first, grid) < end - start
    return first - start > least_new_frames(grid) or only_fits_alone


def _window(
    start: int, end: int, grid: GridConfig, words: Sequence[Word] = (), due: tuple[int, int] = (0, 0)
) -> Window:
    window = Window(start, end - start, min(start, context_frames(grid)), due=due if words else None)
    return window.saying(words)


def _divide(
    source: str,
    group: CueGroup,
    start: int,
    due: tuple[int, int],
    grid: GridConfig,
    count_tokens: CountTokens,
) -> list[Window]:
    """The windows of one utterance, which begin at `start` and end with it."""
    first, end = due
    length = end - start
    num_parts = 1 if length <= _capacity(start, grid) else -(-length // _capacity(end, grid))
    while True:
        ends = [start + length * (i + 1) // num_parts for i in range(num_parts)]
        starts = [start, *ends[:-1]]
        spoken = _by_time(group, ends, grid.frame_rate)
        if max(map(count_tokens, spoken)) <= grid.num_script_tokens:
            return [
                _window(part_start, part_end, grid, words, (max(first, part_start), part_end))
                for part_start, part_end, words in zip(starts, ends, spoken, strict=True)
            ]
        if num_parts >= length // least_new_frames(grid):
            raise _too_many_tokens(source, group, count_tokens, grid)
        num_parts += 1


def _by_time(group: CueGroup, ends: Sequence[int], frame_rate: Fraction) -> list[list[Word]]:
    """Assigns each word to the part at its time; `ends` are the frames behind the parts."""
    chosen: list[list[Word]] = [[] for _ in ends]
    for cue in group.cues:
        for word, time_s in zip(cue.words, _due_times(cue), strict=True):
            index = next((i for i, end in enumerate(ends) if time_s < end / frame_rate), len(ends) - 1)
            chosen[index].append(word)
    return chosen


def _due_times(cue: Cue) -> list[Fraction]:
    """The middle of each word, at a constant rate of speech in the cue."""
    total = sum(len(word.text) + 1 for word in cue.words)
    times, before = [], 0
    for word in cue.words:
        middle = Fraction(2 * before + len(word.text), 2 * total)
        times.append(cue.start_s + middle * (cue.end_s - cue.start_s))
        before += len(word.text) + 1
    return times


def _too_many_tokens(source: str, group: CueGroup, count_tokens: CountTokens, grid: GridConfig) -> UserError:
    num_tokens = count_tokens([word for cue in group.cues for word in cue.words])
    return UserError(
        f"{source}: {group.utterance.name} has {num_tokens} tokens, but the model reads at most "
        f"{grid.num_script_tokens} at a time; shorten the text or divide it into longer cues"
    )
