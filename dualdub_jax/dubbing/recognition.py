"""What a recogniser finds in a finished soundtrack: the contract between projects and evaluation.

The recognisers are models of the extra "eval" (evaluation/run/recognition.py), of which this package knows
nothing: applications pass them in.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dualdub_jax.dubbing.progress import Advance

if TYPE_CHECKING:
    from dualdub_jax.dubbing.project import Project


@dataclasses.dataclass(frozen=True)
class RecognisedWords:
    """The words of one utterance.

    Attributes:
        transcript: by an open-vocabulary recogniser.
        asked: words of the script that were checked.
        dropped: those of `asked` that are not spoken.
        added: repeats, and "…" for speech that is none of the asked words.
        unknown: words of the script that the recogniser cannot check.
        num_different: dropped, added or replaced.
    """

    transcript: str
    asked: tuple[str, ...]
    dropped: tuple[str, ...]
    added: tuple[str, ...]
    unknown: tuple[str, ...]
    num_different: int

    def describe(self) -> dict[str, Any]:
        """Plain JSON values, for receipts."""
        return {
            "recognised": self.transcript,
            "dropped": list(self.dropped),
            "added": list(self.added),
            "unchecked": list(self.unknown),
            "num_different": self.num_different,
        }


@dataclasses.dataclass(frozen=True)
class GhostWords:
    """Words where none is due.

    Attributes:
        track: "speech" or "background".
        start_s, end_s: of the part in which they are.
        words: as recognised.
    """

    track: str
    start_s: float
    end_s: float
    words: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Recognition:
    """The words of a soundtrack.

    Attributes:
        recognisers: names of the models, with the versions of their packages.
        utterances: by utterance of the project; None: inaudible.
        ghost_words: in order of time.
    """

    recognisers: dict[str, str]
    utterances: tuple[RecognisedWords | None, ...]
    ghost_words: tuple[GhostWords, ...]


Recognise = Callable[["Project", Advance], Recognition]
