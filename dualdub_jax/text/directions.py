"""What a script has beside the words that are spoken: speaker labels, stage directions, lyrics.

- **Speaker labels** begin a line: "MARY: Hello", "Old Man: Hello", "[JOHN] Hello". In capitals they may
  follow a sentence as well. Names that are known, because voices are given for them, are labels in any case
  and script, and in capitals on a line of their own. A label holds up to the next one.
- **Stage directions** are all in square brackets, "(laughs)" and "*sighs*". Round brackets and asterisks are
  used for words to be spoken as well, so there a direction is what stands alone on its line, begins it, or is
  a word for a sound or a manner of speaking.
- **Lyrics** stand between notes, "♪ la la ♪", or between signs that stand for notes, "# la la #".

Source: our choice, after the conventions of subtitles for the deaf and hard of hearing.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Iterable

from dualdub_jax.text.label_words import MANNERS, ORDINARY, PREPOSITIONS
from dualdub_jax.text.speakers import Turn, distinct_names

SPEAKER, DIRECTION, LYRICS = "speaker labels", "stage directions", "lyrics"

_NOTES = "\u2669\u266a\u266b\u266c"
_SUNG = rf"[^{_NOTES}\n]*"
_LYRICS = re.compile(
    rf"[{_NOTES}]{_SUNG}[{_NOTES}]"
    rf"|[{_NOTES}]{_SUNG}(?:\n{_SUNG}[^{_NOTES}\s]{_SUNG}){{1,4}}\n?[{_NOTES}](?=[ \t]*$)"
    rf"|[{_NOTES}]{_SUNG}$"
    r"|^[ \t]*(?:-\s*)?#[ \t]+[^#\n]*(?:\n[^#\n]*[^#\s][^#\n]*){0,4}#(?=[ \t]*$)",
    re.MULTILINE,
)
_SQUARE = re.compile(r"\[([^\[\]\n]*(?:\n[^\[\]\n]+){0,2})\]")
_ROUND = re.compile(r"\(([^()\n]*(?:\n[^()\n]+){0,2})\)")
_STARRED = re.compile(r"(?<![\w*])\*([^*\n]+)\*(?![\w*])")
_PREFIX = r"^[ \t]*(?:[-\u2013\u2014]+\s*)?"
_CHANGE = re.compile(r"^[ \t]*>>+", re.MULTILINE)  # captions mark a change of speaker so
_INSIDE = r"(?<=[.!?\u2026\"'\u201d\u2019)\]])[ \t]+"  # behind a sentence
_CASED = [chr(code) for code in range(0xAA, 0x530) if chr(code).isalpha()]  # Latin, Greek, Cyrillic
_UPPER = "A-Z" + "".join(letter for letter in _CASED if letter.isupper())
_LOWER = "a-z" + "".join(letter for letter in _CASED if letter.islower())
_BRACKETED_NAME = re.compile(
    rf"({_PREFIX})\[([{_UPPER}][\w.'&#-]*(?: [{_UPPER}#\d][\w.'&#-]*){{0,2}})\]:?[ \t]*(?=\S)", re.MULTILINE
)
_CAPITALS_LABEL = (
    rf"[{_UPPER}\d.'&#/-]*(?: (?:[{_UPPER}#\d&][{_UPPER}\d.'&#/-]*|[Mm]c[{_UPPER}]+)){{0,3}}):(?=\s|$)"
)
_CAPITALS = re.compile(rf"({_PREFIX})([{_UPPER}]{_CAPITALS_LABEL}", re.MULTILINE)
_CAPITALS_INSIDE = re.compile(rf"({_INSIDE})([{_UPPER}][{_UPPER}]{_CAPITALS_LABEL}", re.MULTILINE)
_NAME = f"(?:O['\u2019]|Mc|Mac)?[{_UPPER}][{_LOWER}'\u2019]+"
_TITLE_CASE = re.compile(
    rf"({_PREFIX})((?:(?:Mr|Mrs|Ms|Dr|St|Prof)\. )?{_NAME}(?:[- ]{_NAME})?(?: \d)?):(?=[ \t]+\S|\s*$)",
    re.MULTILINE,
)
# In scripts without case, such as Chinese and Arabic; what is spoken is in Latin letters.
_UNCASED = re.compile(rf"({_PREFIX})([^\W\d_\u0000-\u052f][^\n:\uff1a]{{0,30}})[:\uff1a]", re.MULTILINE)
# Headings of scenes and cuts in screenplays.
_HEADING = re.compile(
    r"^[ \t]*(?:(?:INT|EXT|I/E)\b[^a-z\n]*|(?:FADE (?:IN|OUT|TO BLACK)|[A-Z ]*CUT TO)[:.]?)$", re.M
)
_LONGEST_DIRECTION = 3  # words, where brackets are used for spoken words as well


@dataclasses.dataclass(frozen=True)
class Unspoken:
    """A piece of a script that is not spoken.

    Attributes:
        kind: in the plural, for messages.
        text: as it is written.
    """

    kind: str
    text: str


@dataclasses.dataclass(frozen=True)
class Spoken:
    """A text without its labels and directions.

    Attributes:
        turns: what remains, by speaker; its whole text in order.
        unspoken: what was removed, in order of kinds.
    """

    turns: tuple[Turn, ...]
    unspoken: tuple[Unspoken, ...]

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(turn.text for turn in self.turns)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names of the labels, in order, each once."""
        return distinct_names(turn.speaker for turn in self.turns)


# Stands for a label until the text is divided. Noncharacters: no text may have them.
_MARK = re.compile("\ufdd0(\\d+)\ufdd1")


def separate_directions(text: str, names: Iterable[str] = (), speaker: str = "") -> Spoken:
    """Separates speaker labels, stage directions and lyrics from the words to be spoken.

    Args:
        text: of a subtitle, or of a whole script.
        names: of known speakers.
        speaker: of what stands before the first label.
    """
    text = unicodedata.normalize("NFC", text).translate({0xFDD0: 0xFFFD, 0xFDD1: 0xFFFD})
    unspoken: list[Unspoken] = []
    labels: list[str] = []

    def remove(kind: str, match: re.Match[str]) -> str:
        unspoken.append(Unspoken(kind, " ".join(_MARK.sub("", match[0]).split())))
        return " "

    def label(match: re.Match[str]) -> str:
        return known_label(match) if _is_name(" ".join(match[2].split())) else match[0]

    def bracketed_label(match: re.Match[str]) -> str:
        is_sound = "]:" not in match[0] and any(map(_is_manner, _ends(match[2].lower().split())))
        return match[0] if is_sound else label(match)

    def known_label(match: re.Match[str]) -> str:
        labels.append(" ".join(match[2].split()))
        unspoken.append(Unspoken(SPEAKER, labels[-1]))
        return f"\ufdd0{len(labels) - 1}\ufdd1{match[1]}"

    in_brackets, on_their_own = _known_labels(names)
    text = _CHANGE.sub("", text)
    text = _HEADING.sub(lambda m: remove(DIRECTION, m), text)
    text = _LYRICS.sub(lambda m: remove(LYRICS, m), text)
    for pattern in in_brackets:
        text = pattern.sub(known_label, text)
    text = _BRACKETED_NAME.sub(bracketed_label, text)
    text = _SQUARE.sub(lambda m: remove(DIRECTION, m), text)
    # A direction may stand between a name and its colon, "MARY (softly):", and behind the label.
    text = _ROUND.sub(lambda m: remove(DIRECTION, m) if _is_direction(m) else m[0], text)
    text = _STARRED.sub(lambda m: remove(DIRECTION, m) if _is_direction(m) else m[0], text)
    text = re.sub(r"(?<=\S)[ \t]+:(?=\s)", ":", text)
    for pattern in on_their_own:
        text = pattern.sub(known_label, text)
    for pattern in (_CAPITALS, _CAPITALS_INSIDE, _TITLE_CASE, _UNCASED):
        text = pattern.sub(label, text)
    first, *rest = _MARK.split(text)
    turns = [Turn(speaker, first)]
    turns += [Turn(labels[int(index)], piece) for index, piece in zip(rest[::2], rest[1::2], strict=True)]
    return Spoken(tuple(turns), tuple(unspoken))


def _known_labels(names: Iterable[str]) -> tuple[list[re.Pattern[str]], list[re.Pattern[str]]]:
    """Patterns of the labels of known speakers: in brackets; before a colon, and as in screenplays."""
    spelt = [unicodedata.normalize("NFC", name).split() for name in names]
    spelt.sort(key=lambda words: -len(" ".join(words)))
    if not spelt:
        return [], []
    name = _any_of(spelt)
    capitals = _any_of([[word.upper() for word in words] for words in spelt])
    square = rf"([ \t]*)\[[ \t]*{name}[ \t]*\]:?"
    round_ = rf"({_PREFIX})\([ \t]*{name}[ \t]*\):?"
    # No time of day, and no address.
    colon = rf"({_PREFIX}|{_INSIDE}){name}[ \t]*[:\uff1a](?!\d|//)"
    # What stands between the name and the next line, or is that line, was a direction.
    line = rf"^([ \t]*){capitals}[ \t]*(?=\n(?:[ \t]+\n)?[ \t]*\S)"
    flags = re.MULTILINE | re.IGNORECASE
    brackets = [re.compile(square, flags), re.compile(round_, flags)]
    return brackets, [re.compile(colon, flags), re.compile(line, re.MULTILINE)]


def _any_of(names: list[list[str]]) -> str:
    """A pattern, with one group, of names in words."""
    return "(" + "|".join(r"[ \t]+".join(map(re.escape, words)) for words in names) + ")"


def _ends(words: list[str]) -> tuple[str, str]:
    return words[0], words[-1]


def _is_name(label: str) -> bool:
    """Whether a label names a speaker; "Note" and "[LAUGHS]" do not."""
    words = re.findall(r"[\w.'-]+", label.lower())
    words = words[1:] if words[0] == "the" and len(words) > 1 else words
    return not any(word in ORDINARY or word in MANNERS for word in words)


def _is_direction(match: re.Match[str]) -> bool:
    """Whether words in round brackets or asterisks are a direction and not spoken."""
    words = re.findall(r"[\w.'-]+", match[1].lower())
    if not any(character.isalpha() for character in match[1]):
        return False
    before = _MARK.sub("", match.string[: match.start()].rpartition("\n")[2])
    after = _MARK.sub("", match.string[match.end() :].partition("\n")[0])
    begins_line = not before.strip(" \t-\u2013\u2014>")
    if begins_line and not after.strip(" \t.!?"):
        return True
    if match[0].startswith("*"):
        return len(words) <= _LONGEST_DIRECTION and any(word in MANNERS for word in (words[0], words[-1]))
    if begins_line or re.search(r"[A-Z].*:\s*$", before) or re.match(r"\s*:", after):  # beside a label
        return len(words) == 1 or words[0] in PREPOSITIONS or _is_manner(words[0]) or _is_manner(words[-1])
    return len(words) <= _LONGEST_DIRECTION and (
        words[0] in MANNERS or words[-1] in MANNERS or (len(words) == 1 and _is_manner(words[0]))
    )


def _is_manner(word: str) -> bool:
    return word in MANNERS or (len(word) > 4 and word.endswith(("ly", "ing")))
