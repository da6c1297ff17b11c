"""Words as they are spoken: the letters a to z, with the apostrophes of contractions.

Sentence ends are kept, since long scripts are preferably divided there, and case and punctuation beside the
letters, for tokenizers that know them. Source: our choice.
"""

import dataclasses
import re
from collections.abc import Sequence

SENTENCE_MARKS = ".!?。"  # NFKD turns the wide and the dotted ones into these
PAUSE_MARKS = ",;:"
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
        written: with its case and the punctuation behind it; empty: as `text`.
        speaker: who speaks it, as the script names them; "": nobody is named.
    """

    text: str
    ends_sentence: bool = False
    joins_next: bool = False
    written: str = ""
    speaker: str = ""


def join_words(words: Sequence[Word], *, written: bool = False) -> str:
    """The words separated by single spaces; pieces of an overlong word are joined.

    Args:
        words: of a script.
        written: with case and punctuation.
    """
    texts = (word.written or word.text if written else word.text for word in words)
    pairs = zip(texts, words, strict=True)
    return "".join(text + " " * (not word.joins_next) for text, word in pairs).rstrip()


_MARKS = re.escape(SENTENCE_MARKS + PAUSE_MARKS)
_WORD = re.compile(rf"([A-Za-z]+(?:'[A-Za-z]+)*)((?:[\s']*[{_MARKS}])*)")


def split_words(text: str) -> tuple[Word, ...]:
    """Splits a text into words; everything but letters and inner apostrophes separates them."""
    words: list[Word] = []
    for match in _WORD.finditer(text):
        letters, marks = match[1], re.sub(r"[\s']", "", match[2])
        length = len(letters) if len(letters) <= _LONGEST_WORD else _PIECE_LENGTH
        for start in range(0, len(letters), length):
            piece, is_last = letters[start : start + length], start + length >= len(letters)
            words.append(
                Word(
                    piece.lower(),
                    ends_sentence=is_last and any(mark in SENTENCE_MARKS for mark in marks),
                    joins_next=not is_last,
                    written=piece + marks if is_last else piece,
                )
            )
    return tuple(words)
