"""The plan of a film: windows of the model's length, and the script distributed over them.

A film longer than the model's window is generated in several. Each window after the first is conditioned on
the last frames of both tracks as context and continues them; the new frames of all windows tile the film. All
windows are full but the last two, which share the remainder so that neither is very short.

Cues have windows of their own (cue_windows.py). A script without times is spoken from the beginning, at a
comfortable rate, and sentences are not divided over two windows if that can be avoided. A script too long for
this is spoken faster up to a limit, and refused beyond it. Source: our choice.
"""

import itertools
from collections.abc import Sequence

from dualdub_jax.config import GridConfig
from dualdub_jax.dubbing.cue_windows import plan_cue_windows
from dualdub_jax.dubbing.window import (
    COMFORTABLE_RATE,
    MAX_RATE,
    CountTokens,
    Window,
    context_frames,
    count_letters,
    least_new_frames,
)
from dualdub_jax.errors import UserError
from dualdub_jax.text.script import Script, Word, join_words


def plan_windows(
    num_frames: int, script: Script, grid: GridConfig, count_tokens: CountTokens
) -> list[Window]:
    """Plans the calls of the model for a film.

    Args:
        num_frames: of the film, on the grid.
        script: may be empty.
        grid: holds the window's length and its number of script tokens.
        count_tokens: number of tokens of some words, markers included.

    Returns:
        Windows in order; their new frames tile [0, num_frames).

    Raises:
        UserError: the script is longer than can be spoken in the film, or a cue than in its time; names the
            most that fits.
    """
    if script.cues:
        return plan_cue_windows(num_frames, script, grid, count_tokens)
    windows = _tile(num_frames, grid)
    spoken = _in_order(script, windows, grid, count_tokens)
    return [window.saying(words) for window, words in zip(windows, spoken, strict=True)]


def _tile(num_frames: int, grid: GridConfig) -> list[Window]:
    if num_frames <= grid.num_frames:
        return [Window(0, num_frames)]
    context, least_new = context_frames(grid), least_new_frames(grid)
    most_new = grid.num_frames - context
    lengths = [grid.num_frames]
    while sum(lengths) < num_frames:
        lengths.append(min(most_new, num_frames - sum(lengths)))
    lacking = max(0, least_new - lengths[-1])
    lengths[-2:] = lengths[-2] - lacking, lengths[-1] + lacking
    starts = itertools.accumulate(lengths, initial=0)
    return [
        Window(start, length, min(context, start)) for start, length in zip(starts, lengths, strict=False)
    ]


def _fits(
    words: Sequence[Word], window: Window, rate: int, grid: GridConfig, count_tokens: CountTokens
) -> bool:
    most = rate * window.num_new // grid.frame_rate
    # Tokens never outnumber letters by much: long texts are refused without tokenising them.
    return count_letters(words) <= most and count_tokens(words) <= grid.num_script_tokens


def _in_order(
    script: Script, windows: Sequence[Window], grid: GridConfig, count_tokens: CountTokens
) -> list[Sequence[Word]]:
    for rate in (COMFORTABLE_RATE, (COMFORTABLE_RATE + MAX_RATE) // 2, MAX_RATE):
        for keep_sentences in (True, False):
            spoken, num_spoken = _fill(script.words, windows, rate, keep_sentences, grid, count_tokens)
            if num_spoken == len(script.words):
                return spoken
    most = len(join_words(script.words[:num_spoken]))
    seconds = float(windows[-1].end_frame / grid.frame_rate)
    raise UserError(
        f"{script.source}: the script has {len(script.text)} characters as it is spoken but a video of "
        f"{seconds:.2f} s holds at most {most} of them; shorten the script or give a longer video"
    )


def _fill(
    words: Sequence[Word],
    windows: Sequence[Window],
    rate: int,
    keep_sentences: bool,
    grid: GridConfig,
    count_tokens: CountTokens,
) -> tuple[list[Sequence[Word]], int]:
    """Fills windows in order; returns their words and the number of words assigned."""

    def fits(chosen: Sequence[Word], window: Window) -> bool:
        return _fits(chosen, window, rate, grid, count_tokens)

    spoken, position = [], 0
    for window in windows:
        begin = position
        while position < len(words) and fits(words[begin : position + 1], window):
            position += 1
        is_inside_sentence = (
            position < len(words) and position > begin and not words[position - 1].ends_sentence
        )
        if keep_sentences and is_inside_sentence:
            ends = [i + 1 for i in range(begin, position) if words[i].ends_sentence]
            if ends:  # the unfinished sentence moves to the next window as a whole
                position = ends[-1]
        spoken.append(words[begin:position])
    return spoken, position
