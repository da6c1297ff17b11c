"""What a script has beside the words that are spoken: speaker labels, stage directions, lyrics.

- **Speaker labels** begin a line: "MARY: Hello", "Old Man: Hello", "[JOHN] Hello".
- **Stage directions** are all in square brackets, "(laughs)" and "*sighs*". Round brackets and asterisks are
  used for words to be spoken as well, so there a direction is what stands alone on its line, begins it, or is
  a word for a sound or a manner of speaking.
- **Lyrics** stand between notes: "♪ la la ♪".

Source: our choice, after the conventions of subtitles for the deaf and hard of hearing.
"""

import dataclasses
import re

from dualdub_jax.text.label_words import MANNERS, ORDINARY, PREPOSITIONS

SPEAKER, DIRECTION, LYRICS = "speaker labels", "stage directions", "lyrics"

_NOTES = "\u2669\u266a\u266b\u266c"
_LYRICS = re.compile(rf"[{_NOTES}][^{_NOTES}\n]*(?:[{_NOTES}]|$)", re.MULTILINE)
_SQUARE = re.compile(r"\[([^\[\]\n]*(?:\n[^\[\]\n]+){0,2})\]")
_ROUND = re.compile(r"\(([^()\n]*(?:\n[^()\n]+){0,2})\)")
_STARRED = re.compile(r"(?<![\w*])\*([^*\n]+)\*(?![\w*])")
_PREFIX = r"^[ \t]*(?:[-\u2013\u2014]+\s*|>>+\s*)?"
_BRACKETED_NAME = re.compile(
    rf"({_PREFIX})\[([A-Z][\w.'&#-]*(?: [A-Z#\d][\w.'&#-]*){{0,2}})\]:?[ \t]*(?=\S)", re.MULTILINE
)
_CAPITALS = re.compile(
    rf"({_PREFIX})([A-Z](?:[A-Z\d.'&#/-]*)(?: (?:[A-Z#\d&][A-Z\d.'&#/-]*|[Mm]c[A-Z]+)){{0,3}}):(?=\s|$)",
    re.MULTILINE,
)
_NAME = "(?:O['\u2019]|Mc|Mac)?[A-Z][a-z'\u2019]+"
_TITLE_CASE = re.compile(
    rf"({_PREFIX})((?:(?:Mr|Mrs|Ms|Dr|St|Prof)\. )?{_NAME}(?:[- ]{_NAME})?(?: \d)?):(?=[ \t]+\S|\s*$)",
    re.MULTILINE,
)
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
        text: what remains.
        speakers: names of its labels, in order, each once.
        unspoken: what was removed, in order of kinds.
    """

    text: str
    speakers: tuple[str, ...]
    unspoken: tuple[Unspoken, ...]


def separate_directions(text: str) -> Spoken:
    """Separates speaker labels, stage directions and lyrics from the words to be spoken."""
    unspoken: list[Unspoken] = []
    speakers: list[str] = []

    def remove(kind: str, match: re.Match[str]) -> str:
        unspoken.append(Unspoken(kind, " ".join(match[0].split())))
        return " "

    def label(match: re.Match[str]) -> str:
        name = " ".join(match[2].split())
        if not _is_name(name):
            return match[0]
        speakers.append(name)
        unspoken.append(Unspoken(SPEAKER, name))
        return match[1]

    text = _HEADING.sub(lambda m: remove(DIRECTION, m), text)
    text = _LYRICS.sub(lambda m: remove(LYRICS, m), text)
    text = _BRACKETED_NAME.sub(label, text)
    text = _SQUARE.sub(lambda m: remove(DIRECTION, m), text)
    # A direction may stand between a name and its colon, "MARY (softly):", and behind the label.
    text = _ROUND.sub(lambda m: remove(DIRECTION, m) if _is_direction(m) else m[0], text)
    text = _STARRED.sub(lambda m: remove(DIRECTION, m) if _is_direction(m) else m[0], text)
    text = re.sub(r"(?<=\S)[ \t]+:(?=\s)", ":", text)
    text = _TITLE_CASE.sub(label, _CAPITALS.sub(label, text))
    return Spoken(text, tuple(dict.fromkeys(speakers)), tuple(unspoken))


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
    before = match.string[: match.start()].rpartition("\n")[2]
    after = match.string[match.end() :].partition("\n")[0]
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
