"""Utterances: words of one speaker that are due in one stretch of the film, without overlaps between them.

A script with cues has those of its passages (passages.py), one without times has one for every window with
text. Source: our choice.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

from dualdub_jax.dubbing.rates import COMFORTABLE_RATE
from dualdub_jax.dubbing.window import Window
from dualdub_jax.text.script import listed

# Speech may begin this much before its utterance is due, and end this much after: the tolerance within which
# viewers accept a subtitle as synchronous.
TOLERANCE_S = Fraction(80, 1000)


@dataclasses.dataclass(frozen=True)
class Utterance:
    """Words and the time in which they are spoken.

    Attributes:
        text: the words.
        start_s: seconds from the first frame; likewise `end_s`.
        cues: the number of its cue in the file; empty for an untimed script.
        speaker: a name of the cast; "": nobody is named.
        written: `text` with case and punctuation, for subtitles.
    """

    text: str
    start_s: Fraction
    end_s: Fraction
    cues: tuple[int, ...] = ()
    speaker: str = ""
    written: str = ""

    @property
    def rate(self) -> Fraction:
        """Letters and spaces a second that it needs."""
        return len(self.text) / (self.end_s - self.start_s)

    @property
    def name(self) -> str:
        """For messages: "cue 2 (6.00 s to 8.00 s)"."""
        times = f"{float(self.start_s):.2f} s to {float(self.end_s):.2f} s"
        if not self.cues:
            by = f" of {self.speaker}" if self.speaker else ""
            return f"the script{by} between {times.replace(' to ', ' and ')}"
        by = f"{self.speaker}, " if self.speaker else ""
        return f"cue {self.cues[0]} ({by}{times})"


def find_utterances(windows: Sequence[Window], frame_rate: Fraction) -> tuple[Utterance, ...]:
    """The utterances of a planned film without cues, in order of time.

    Args:
        windows: the plan.
        frame_rate: of the grid, frames per second.
    """
    return tuple(
        Utterance(
            window.text,
            window.start_frame / frame_rate,
            window.end_frame / frame_rate,
            speaker=window.speaker,
            written=window.written,
        )
        for window in windows
        if window.text
    )


def rate_warning(source: str, utterances: Sequence[Utterance]) -> list[str]:
    """A sentence on the utterances that are spoken faster than is comfortable; none if there are none."""
    fast = [
        f"{utterance.name} at {float(utterance.rate):.3g}, {float(utterance.rate / COMFORTABLE_RATE):.2f} "
        "times as fast"
        for utterance in utterances
        if utterance.rate > COMFORTABLE_RATE
    ]
    if not fast:
        return []
    return [
        f"{source}: spoken faster than the comfortable {COMFORTABLE_RATE} letters a second: {listed(fast)}; "
        "shorten the text or give it more time (--strict refuses this)"
    ]
