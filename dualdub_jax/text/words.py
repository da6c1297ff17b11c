"""Words as they are spoken: the letters a to z, with the apostrophes of contractions.

Sentence ends are kept, since long scripts are preferably divided there. Source: our choice.
"""

import dataclasses
import re
from collections.abc import Sequence

SENTENCE_MARKS = ".!?。"  # NFKD turns the wide and the dotted ones into these
# Longer letter sequences are not words and are split into pieces.
_LONGEST_WORD = 24
_PIECE_LENGTH = 5


@dataclasses.dataclass(frozen=True)
class Word:
    """A word of the letters a to z; apostrophes are inside only ("don't").

    Attributes:
        text: its letters.
        ends_sentence: whether it is the last word of a sentence.
        joins_next: whether it is a piece of an overlong word, continued by the next one.
    """

    text: str
    ends_sentence: bool = False
    joins_next: bool = False


def join_words(words: Sequence[Word]) -> str:
    """The words separated by single spaces; pieces of an overlong word are joined."""
    return "".join(word.text + " " * (not word.joins_next) for word in words).rstrip()


def split_words(text: str) -> tuple[Word, ...]:
    """Splits a lower-case text into words; everything but letters and inner apostrophes separates them."""
    words: list[Word] = []
    for match in re.finditer(rf"([a-z]+(?:'[a-z]+)*)|([{re.escape(SENTENCE_MARKS)}])", text):
        if match[1]:
            letters = match[1]
            length = len(letters) if len(letters) <= _LONGEST_WORD else _PIECE_LENGTH
            for start in range(0, len(letters), length):
                words.append(Word(letters[start : start + length], joins_next=start + length < len(letters)))
        elif words:
            words[-1] = dataclasses.replace(words[-1], ends_sentence=True)
    return tuple(words)
