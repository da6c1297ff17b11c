"""The plan of a film: windows of the model's length, and the script distributed over them.

A film longer than the model's window is generated in several. Each window after the first is conditioned on
the last frames of both tracks as context and continues them; the new frames of all windows tile the film. All
windows are full but the last two, which share the remainder so that neither is very short.

Cues are assigned by their times. A script without times is spoken from the beginning, at a comfortable rate,
and sentences are not divided over two windows if that can be avoided. A script too long for this is spoken
faster up to a limit, and refused beyond it. Source: our choice.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction

from dualdub_jax.config import GridConfig
from dualdub_jax.errors import UserError
from dualdub_jax.text.script import Cue, Script, Word, join_words

CONTEXT_S = 1
MIN_NEW_S = 1  # of a window after the first
COMFORTABLE_RATE = 14  # letters and spaces a second; conversational English
MAX_RATE = 20  # the fastest intelligible speech

CountTokens = Callable[[str], int]


@dataclasses.dataclass(frozen=True)
class Window:
    """One call of the model.

    Attributes:
        start_frame: the first new frame, on the film's grid.
        num_new: new frames.
        num_context: frames before `start_frame` that condition the window.
        text: spoken in the new frames.
    """

    start_frame: int
    num_new: int
    num_context: int = 0
    text: str = ""

    @property
    def first_frame(self) -> int:
        """The first frame of the model's input."""
        return self.start_frame - self.num_context

    @property
    def end_frame(self) -> int:
        """The frame after the last one."""
        return self.start_frame + self.num_new


def plan_windows(
    num_frames: int, script: Script, grid: GridConfig, count_tokens: CountTokens
) -> list[Window]:
    """Plans the calls of the model for a film.

    Args:
        num_frames: of the film, on the grid.
        script: may be empty.
        grid: holds the window's length and its number of script tokens.
        count_tokens: number of tokens of a text, markers included.

    Returns:
        Windows in order; their new frames tile [0, num_frames).

    Raises:
        UserError: the script is longer than can be spoken in the film (names the most that fits), or the
            cues of one window are.
    """
    windows = _tile(num_frames, grid)
    if script.cues:
        texts = _by_time(script, windows, grid, count_tokens)
    else:
        texts = _in_order(script, windows, grid, count_tokens)
    return [dataclasses.replace(w, text=text) for w, text in zip(windows, texts, strict=True)]


def _tile(num_frames: int, grid: GridConfig) -> list[Window]:
    if num_frames <= grid.num_frames:
        return [Window(0, num_frames)]
    context = min(round(CONTEXT_S * grid.frame_rate), grid.num_frames // 2)
    most_new = grid.num_frames - context
    least_new = min(round(MIN_NEW_S * grid.frame_rate), most_new // 2)
    lengths = [grid.num_frames]
    while sum(lengths) < num_frames:
        lengths.append(min(most_new, num_frames - sum(lengths)))
    lacking = max(0, least_new - lengths[-1])
    lengths[-2:] = lengths[-2] - lacking, lengths[-1] + lacking
    starts = itertools.accumulate(lengths, initial=0)
    return [
        Window(start, length, min(context, start)) for start, length in zip(starts, lengths, strict=False)
    ]


def _fits(text: str, window: Window, rate: int, grid: GridConfig, count_tokens: CountTokens) -> bool:
    most = rate * window.num_new // grid.frame_rate
    # Tokens never outnumber letters by much: long texts are refused without tokenising them.
    return len(text) <= most and count_tokens(text) <= grid.num_script_tokens


def _in_order(
    script: Script, windows: Sequence[Window], grid: GridConfig, count_tokens: CountTokens
) -> list[str]:
    for rate in (COMFORTABLE_RATE, (COMFORTABLE_RATE + MAX_RATE) // 2, MAX_RATE):
        for keep_sentences in (True, False):
            texts, num_spoken = _fill(script.words, windows, rate, keep_sentences, grid, count_tokens)
            if num_spoken == len(script.words):
                return texts
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
) -> tuple[list[str], int]:
    """Fills windows in order; returns their texts and the number of words assigned."""

    def fits(chosen: Sequence[Word], window: Window) -> bool:
        return _fits(join_words(chosen), window, rate, grid, count_tokens)

    texts, position = [], 0
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
        texts.append(join_words(words[begin:position]))
    return texts, position


def _by_time(
    script: Script, windows: Sequence[Window], grid: GridConfig, count_tokens: CountTokens
) -> list[str]:
    """Assigns each word to the window at its time."""
    chosen: list[list[Word]] = [[] for _ in windows]
    ends_s = [window.end_frame / grid.frame_rate for window in windows]
    for cue in script.cues:
        for word, time_s in zip(cue.words, _due_times(cue), strict=True):
            index = next((i for i, end_s in enumerate(ends_s) if time_s < end_s), len(windows) - 1)
            chosen[index].append(word)
    texts = [join_words(words) for words in chosen]
    for window, text in zip(windows, texts, strict=True):
        if not _fits(text, window, MAX_RATE, grid, count_tokens):
            most = min(MAX_RATE * window.num_new // grid.frame_rate, grid.num_script_tokens - 2)
            raise UserError(
                f"{script.source}: {len(text)} characters are due between "
                f"{float(window.start_frame / grid.frame_rate):.2f} s and "
                f"{float(window.end_frame / grid.frame_rate):.2f} s but at most {most} can be spoken there; "
                "shorten the cues"
            )
    return texts


def _due_times(cue: Cue) -> list[Fraction]:
    """The middle of each word, at a constant rate of speech in the cue."""
    total = sum(len(word.text) + 1 for word in cue.words)
    times, before = [], 0
    for word in cue.words:
        middle = Fraction(2 * before + len(word.text), 2 * total)
        times.append(cue.start_s + middle * (cue.end_s - cue.start_s))
        before += len(word.text) + 1
    return times
