"""Utterances: words that are due in one stretch of the film, without gaps or overlaps between them.

Cues that overlap are one utterance, for the model speaks with one voice. An untimed script has an utterance
for every window with text. Source: our choice.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

from dualdub_jax.dubbing.window import Window
from dualdub_jax.text.script import Cue, Script, join_words

# Speech may begin this much before its utterance is due, and end this much after: the tolerance within which
# viewers accept a subtitle as synchronous.
TOLERANCE_S = Fraction(80, 1000)


@dataclasses.dataclass(frozen=True)
class Utterance:
    """Words and the time in which they are spoken.

    Attributes:
        text: the words.
        start_s: seconds from the first frame; likewise `end_s`.
        cues: numbers of its cues, from 1 in order of time; empty for an untimed script.
    """

    text: str
    start_s: Fraction
    end_s: Fraction
    cues: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """For messages: "cue 2 (6.00 s to 8.00 s)"."""
        times = f"{float(self.start_s):.2f} s to {float(self.end_s):.2f} s"
        if not self.cues:
            return f"the script between {times.replace(' to ', ' and ')}"
        if len(self.cues) == 1:
            return f"cue {self.cues[0]} ({times})"
        return f"cues {self.cues[0]} to {self.cues[-1]} ({times})"


@dataclasses.dataclass(frozen=True)
class CueGroup:
    """Overlapping cues, in order of their starts.

    Attributes:
        cues: with words.
        numbers: of the cues in the script.
    """

    cues: tuple[Cue, ...]
    numbers: tuple[int, ...]

    @property
    def utterance(self) -> Utterance:
        """All their words, from the first start to the last end."""
        words = [word for cue in self.cues for word in cue.words]
        return Utterance(
            join_words(words), self.cues[0].start_s, max(cue.end_s for cue in self.cues), self.numbers
        )


def group_cues(script: Script) -> list[CueGroup]:
    """Groups the cues of a script that overlap; cues without words are left out."""
    groups: list[CueGroup] = []
    for number, cue in enumerate(script.cues, start=1):
        if not cue.words:
            continue
        if groups and cue.start_s < groups[-1].utterance.end_s:
            last = groups.pop()
            groups.append(CueGroup((*last.cues, cue), (*last.numbers, number)))
        else:
            groups.append(CueGroup((cue,), (number,)))
    return groups


def find_utterances(script: Script, windows: Sequence[Window], frame_rate: Fraction) -> tuple[Utterance, ...]:
    """The utterances of a planned film, in order of time.

    Args:
        script: not empty.
        windows: the plan.
        frame_rate: of the grid, frames per second.
    """
    if script.cues:
        return tuple(group.utterance for group in group_cues(script))
    return tuple(
        Utterance(window.text, window.start_frame / frame_rate, window.end_frame / frame_rate)
        for window in windows
        if window.text
    )
