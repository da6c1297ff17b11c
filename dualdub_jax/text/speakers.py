"""Speakers: the names that a script gives to those who speak, and how names are compared."""

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple


class Turn(NamedTuple):
    """Text of one speaker.

    Attributes:
        speaker: the name, as it is written; "": nobody is named.
        text: without the name.
    """

    speaker: str
    text: str


def name_key(name: str) -> str:
    """What equal names share: case, spaces around and between words, and ways to encode accents vary."""
    folded = unicodedata.normalize("NFKC", " ".join(name.split())).casefold()
    return unicodedata.normalize("NFKC", folded)


def distinct_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names in order, each once, as it is first written; without the empty one."""
    found: dict[str, str] = {}
    for name in names:
        if name:
            found.setdefault(name_key(name), name)
    return tuple(found.values())
