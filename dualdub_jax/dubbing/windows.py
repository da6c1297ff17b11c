"""The plan of a film: windows of the model's length, and the script distributed over them.

A film longer than the model's window is generated in several. Each window after the first is conditioned on
the last frames of both tracks as context and continues them; the new frames of all windows tile the film.
Windows are full, or end at a change of shot (tiling.py); the last two share the remainder so that neither is
very short.

Cues have windows of their own (cue_windows.py). A script without times is spoken from the beginning, at a
comfortable rate, and sentences are not divided over two windows if that can be avoided. A window has one
voice: it ends shortly after the words of a speaker whom another follows. A script too long for this is spoken
faster up to a limit, and refused beyond it. Source: our choice.
"""

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction

from dualdub_jax.config import GridConfig
from dualdub_jax.dubbing.cue_windows import plan_cue_windows
from dualdub_jax.dubbing.passages import find_passages
from dualdub_jax.dubbing.rates import COMFORTABLE_RATE, MAX_RATE, count_letters
from dualdub_jax.dubbing.tiling import next_window
from dualdub_jax.dubbing.window import CountTokens, Window, least_new_frames
from dualdub_jax.errors import UserError
from dualdub_jax.text.script import Script, Word, join_words

_TURN_PAUSE_S = Fraction(3, 10)  # behind the words of a speaker


def plan_windows(
    num_frames: int,
    script: Script,
    grid: GridConfig,
    count_tokens: CountTokens,
    fastest: Fraction | int = MAX_RATE,
    shots: Sequence[int] = (),
) -> list[Window]:
    """Plans the calls of the model for a film.

    Args:
        num_frames: of the film, on the grid.
        script: may be empty; speakers as in the cast.
        grid: holds the window's length and its number of script tokens.
        count_tokens: number of tokens of some words, markers included.
        fastest: letters and spaces a second at which a script without times may be spoken.
        shots: first frames of shots but the first, rising.

    Returns:
        Windows in order; their new frames tile [0, num_frames).

    Raises:
        UserError: the script is longer than can be spoken in the film, and names the most that fits; or a
            cue has more tokens than the windows of its time.
    """
    if script.cues:
        passages = find_passages(script)
        return _continued(plan_cue_windows(num_frames, script.source, passages, grid, count_tokens, shots))
    middle = (COMFORTABLE_RATE + Fraction(fastest)) / 2
    for rate in (COMFORTABLE_RATE, middle, fastest) if fastest > COMFORTABLE_RATE else (fastest,):
        for keep_sentences in (True, False):
            plan = _Plan(num_frames, script.words, grid, count_tokens, rate, keep_sentences, shots)
            if plan.num_spoken == len(script.words):
                return _continued(plan.windows)
    most = len(join_words(script.words[: plan.num_spoken]))
    seconds = float(num_frames / grid.frame_rate)
    raise UserError(
        f"{script.source}: the script has {len(script.text)} characters as it is spoken but a video of "
        f"{seconds:.2f} s holds at most {most} of them, at up to {float(fastest):.3g} a second and "
        f"{grid.num_script_tokens} tokens a window; shorten the script or give a longer video"
    )


def _continued(windows: Sequence[Window]) -> list[Window]:
    """The windows, those without words with the speaker before them, or at first the one behind."""
    speaker = next((window.speaker for window in windows if window.text), "")
    continued = []
    for window in windows:
        speaker = window.speaker if window.text else speaker
        continued.append(dataclasses.replace(window, speaker=speaker))
    return continued


class _Plan:
    """The windows of a script without times, spoken at one rate.

    Attributes:
        windows: they tile the film.
        num_spoken: number of words that have a window.
    """

    def __init__(
        self,
        num_frames: int,
        words: Sequence[Word],
        grid: GridConfig,
        count_tokens: CountTokens,
        rate: Fraction | int,
        keep_sentences: bool,
        shots: Sequence[int],
    ) -> None:
        self._grid, self._count_tokens, self._rate = grid, count_tokens, rate
        self.windows: list[Window] = []
        self.num_spoken = start = 0
        while start < num_frames:
            window = next_window(start, num_frames, grid, shots)
            chosen = self._chosen(words, window, keep_sentences)
            self.num_spoken += len(chosen)
            if chosen and self.num_spoken < len(words) and not _same_turn(words, self.num_spoken):
                window = self._ended(window, chosen, num_frames)
            self.windows.append(window.saying(chosen))
            start = window.end_frame

    def _chosen(self, words: Sequence[Word], window: Window, keep_sentences: bool) -> Sequence[Word]:
        """As many words of one speaker, from the first without a window on, as fit it."""
        begin = end = self.num_spoken
        while end < len(words) and (end == begin or _same_turn(words, end)):
            if not self._fits(words[begin : end + 1], window):
                break
            end += 1
        is_inside_sentence = begin < end < len(words) and not words[end - 1].ends_sentence
        if keep_sentences and is_inside_sentence and _same_turn(words, end):
            ends = [i + 1 for i in range(begin, end) if words[i].ends_sentence]
            if ends:  # the unfinished sentence moves to the next window as a whole
                end = ends[-1]
        return words[begin:end]

    def _fits(self, words: Sequence[Word], window: Window) -> bool:
        most = self._rate * window.num_new // self._grid.frame_rate
        # Tokens never outnumber letters by much: long texts are refused without tokenising them.
        return count_letters(words) <= most and self._count_tokens(words) <= self._grid.num_script_tokens

    def _ended(self, window: Window, words: Sequence[Word], num_frames: int) -> Window:
        """The window up to shortly after its words."""
        frame_rate, least = self._grid.frame_rate, least_new_frames(self._grid)
        spoken = math.ceil((count_letters(words) / Fraction(self._rate) + _TURN_PAUSE_S) * frame_rate)
        num_new = max(spoken, least)
        if num_new >= window.num_new or num_frames - window.start_frame - num_new < least:
            return window
        return dataclasses.replace(window, num_new=num_new)


def _same_turn(words: Sequence[Word], index: int) -> bool:
    """Whether a word has the speaker of the word before it."""
    return words[index].speaker == words[index - 1].speaker
