"""A window: one call of the model, and what is common to all ways of planning them."""

import dataclasses
from collections.abc import Callable, Sequence

from dualdub_jax.config import GridConfig
from dualdub_jax.text.script import Word, join_words

CONTEXT_S = 1
MIN_NEW_S = 1  # of a window after the first

CountTokens = Callable[[Sequence[Word]], int]


@dataclasses.dataclass(frozen=True)
class Window:
    """One call of the model.

    Attributes:
        start_frame: the first new frame, on the film's grid.
        num_new: new frames.
        num_context: frames before `start_frame` that condition the window.
        text: spoken in the new frames.
        due: frames [first, end) on the film's grid in which `text` is spoken; the speech of other new frames
            is silence. None: the model chooses when in the new frames to speak.
        written: `text` with case and punctuation, for tokenizers that know them.
        speaker: of the text, a name of the cast (casting.py); windows without text continue the voice of
            their neighbours.
        scene: whose acoustics condition it, from 0 in order.
    """

    start_frame: int
    num_new: int
    num_context: int = 0
    text: str = ""
    due: tuple[int, int] | None = None
    written: str = ""
    speaker: str = ""
    scene: int = 0

    def saying(self, words: Sequence[Word]) -> "Window":
        """The window with other words, of one speaker."""
        return dataclasses.replace(
            self,
            text=join_words(words),
            written=join_words(words, written=True),
            speaker=words[0].speaker if words else self.speaker,
        )

    @property
    def first_frame(self) -> int:
        """The first frame of the model's input."""
        return self.start_frame - self.num_context

    @property
    def end_frame(self) -> int:
        """The frame after the last one."""
        return self.start_frame + self.num_new

    @property
    def speech_span(self) -> tuple[int, int] | None:
        """Frames [first, end) of the model's input with speech; None: any new frame."""
        if self.due is not None:
            return self.due[0] - self.first_frame, self.due[1] - self.first_frame
        return None if self.text else (self.num_context, self.num_context)


def context_frames(grid: GridConfig) -> int:
    """Frames of context of a window after the first."""
    return min(round(CONTEXT_S * grid.frame_rate), grid.num_frames // 2)


def least_new_frames(grid: GridConfig) -> int:
    """New frames that a window after the first should at least have."""
    return min(round(MIN_NEW_S * grid.frame_rate), (grid.num_frames - context_frames(grid)) // 2)
