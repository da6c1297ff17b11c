"""When the words of cues are due: passages of one speaker, one after the other.

A cue is one passage, or one for each turn of its speakers, in the order in which it has them. Where cues
overlap, their passages share the time so that all are spoken at nearly one rate, each inside its own cue: in
the order of their starts, or of their ends if that leaves more time. Where neither is possible at the fastest
rate that is intelligible, they share the common time of the cues. Source: our choice; rates after Yao, Demers
and Shenker, "A scheduling model for reduced CPU energy", 1995.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from dualdub_jax.dubbing.rates import COMFORTABLE_RATE, MAX_RATE, count_letters
from dualdub_jax.dubbing.utterances import Utterance
from dualdub_jax.errors import UserError
from dualdub_jax.text.script import Cue, Script, listed
from dualdub_jax.text.words import Word, join_words

_ROUNDING = Fraction(1_000_001, 1_000_000)  # of the times that passages of one cue share


@dataclasses.dataclass(frozen=True)
class Passage:
    """Words of one speaker, and the time in which they are due.

    Attributes:
        words: not empty.
        start_s: seconds from the first frame; likewise `end_s`.
        cue: number of their cue.
    """

    words: tuple[Word, ...]
    start_s: Fraction
    end_s: Fraction
    cue: int

    @property
    def num_letters(self) -> int:
        """Letters and spaces."""
        return count_letters(self.words)

    @property
    def rate(self) -> Fraction | float:
        """Letters a second that it needs."""
        seconds = self.end_s - self.start_s
        return self.num_letters / seconds if seconds > 0 else math.inf

    @property
    def utterance(self) -> Utterance:
        """What is due, and when."""
        return Utterance(
            join_words(self.words),
            self.start_s,
            self.end_s,
            (self.cue,),
            self.words[0].speaker,
            join_words(self.words, written=True),
        )


def find_passages(script: Script) -> list[Passage]:
    """The passages of a script with cues, in order of time, without overlap."""
    passages: list[Passage] = []
    for group in _groups(script.cues):
        whole = [passage for cue in group for passage in _turns(cue)]
        orders = [whole, sorted(whole, key=lambda passage: passage.end_s)]
        placed = min(map(_placed, orders), key=_fastest)
        if _fastest(placed) > MAX_RATE:
            end_s = max(cue.end_s for cue in group)
            common = [dataclasses.replace(p, start_s=group[0].start_s, end_s=end_s) for p in whole]
            placed = min(placed, _placed(common), key=_fastest)
        passages += placed
    return passages


def check_rates(source: str, passages: Sequence[Passage], fastest: Fraction, is_strict: bool) -> None:
    """Checks that all passages can be spoken in their time.

    Args:
        source: the script, for messages.
        passages: of the script.
        fastest: letters a second that are allowed.
        is_strict: whether no more than is comfortable is allowed.

    Raises:
        UserError: one cannot; names it, its letters and the most that fits, and the others.
    """
    late = [passage for passage in passages if passage.rate > fastest * _ROUNDING]
    if not late:
        return
    first, seconds = late[0], late[0].end_s - late[0].start_s
    limit = f"{float(fastest):.3g} a second{', the comfortable rate of --strict' if is_strict else ''}"
    mend = f"shorten the text or give it {math.ceil(100 * first.num_letters / fastest) / 100:.2f} s"
    if not is_strict and seconds > 0:
        mend += f", or squeeze it by --max-rate {math.ceil(100 * first.rate / COMFORTABLE_RATE) / 100:.2f}"
    if len(late) > 1:
        mend += f"; likewise {listed([passage.utterance.name for passage in late[1:]])}"
    raise UserError(
        f"{source}: {first.utterance.name} has {first.num_letters} letters, {float(first.rate):.0f} a "
        f"second, but at most {math.floor(fastest * seconds)} can be spoken in {float(seconds):.2f} s "
        f"({limit}); {mend}"
    )


def _groups(cues: Sequence[Cue]) -> list[list[Cue]]:
    """Cues with words that overlap, directly or by others between them."""
    groups: list[list[Cue]] = []
    end_s = Fraction(0)
    for cue in cues:
        if not cue.words:
            continue
        if groups and cue.start_s < end_s:
            groups[-1].append(cue)
            end_s = max(end_s, cue.end_s)
        else:
            groups.append([cue])
            end_s = cue.end_s
    return groups


def _turns(cue: Cue) -> list[Passage]:
    """The turns of a cue's speakers, each with the whole time of the cue."""
    turns = itertools.groupby(cue.words, key=lambda word: word.speaker)
    return [Passage(tuple(words), cue.start_s, cue.end_s, cue.number) for _, words in turns]


def _fastest(passages: Sequence[Passage]) -> Fraction | float:
    return max(passage.rate for passage in passages)


def _placed(passages: Sequence[Passage]) -> list[Passage]:
    """Passages one after the other in the given order, each inside the time that it has."""
    placed: list[Passage] = []
    letters = np.array([passage.num_letters for passage in passages])
    ends_s = np.array([float(passage.end_s) for passage in passages])
    before_s = passages[0].start_s
    for i, passage in enumerate(passages):
        start_s = min(max(passage.start_s, before_s), passage.end_s)
        end_s = passage.end_s
        if i + 1 < len(passages):
            # As fast as those behind it require, and not before the next one may begin.
            left_s = np.maximum(ends_s[i:] - float(start_s), 1e-6)
            needed_s = letters[i] / np.max(np.cumsum(letters[i:]) / left_s)
            end_s = min(end_s, max(start_s + Fraction(round(1e9 * needed_s), 10**9), passages[i + 1].start_s))
        placed.append(dataclasses.replace(passage, start_s=start_s, end_s=end_s))
        before_s = end_s
    return placed
