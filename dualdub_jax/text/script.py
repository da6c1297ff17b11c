"""Reads a script from text, a text file or subtitles, and normalises it to the model's alphabet.

The model is trained on lower-case words of the letters a to z, separated by single spaces. Numbers are spelt,
accents are folded (`é` becomes `e`), apostrophes are removed (`don't` becomes `dont`), some symbols are spelt
(`&` becomes `and`), and other punctuation separates words. Sentence ends are recorded, since long scripts are
preferably split there. Characters that cannot be spoken are dropped with a warning. Source: our choice.
"""

import dataclasses
import html
import pathlib
import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction

import pysubs2

from dualdub_jax.errors import UserError

FILE_SUFFIXES = (".txt", ".srt", ".vtt")
CUE_SUFFIXES = (".srt", ".vtt")
# Subtitle times are rounded to milliseconds or frames: a cue may end this much after the video.
CUE_TOLERANCE_S = Fraction(1, 20)

_SENTENCE_MARKS = ".!?。"  # NFKD turns the wide and the dotted ones into these
_SPELT = {"&": "and", "%": "percent", "+": "plus", "=": "equals", "@": "at"}
_LIGATURES = {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th"}
_APOSTROPHES = "'`\u2018\u2019\u02bc"
# Longer letter sequences are not words and are split into pieces.
_LONGEST_WORD = 24
_PIECE_LENGTH = 5


@dataclasses.dataclass(frozen=True)
class Word:
    """A word of the letters a to z.

    Attributes:
        text: its letters.
        ends_sentence: whether it is the last word of a sentence.
        joins_next: whether it is a piece of an overlong word, continued by the next one.
    """

    text: str
    ends_sentence: bool = False
    joins_next: bool = False


@dataclasses.dataclass(frozen=True)
class Cue:
    """Words to be spoken between two times, in seconds from the first frame."""

    start_s: Fraction
    end_s: Fraction
    words: tuple[Word, ...]


@dataclasses.dataclass(frozen=True)
class Script:
    """A normalised script.

    Attributes:
        source: the file's name, or "--script", for messages.
        words: all words in order.
        cues: the same words with times; empty for an untimed script.
        num_characters: length of the script before normalisation.
        warnings: for the user, one sentence each.
    """

    source: str = "--script"
    words: tuple[Word, ...] = ()
    cues: tuple[Cue, ...] = ()
    num_characters: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The whole normalised script."""
        return join_words(self.words)


def join_words(words: Sequence[Word]) -> str:
    """The words separated by single spaces; pieces of an overlong word are joined."""
    return "".join(word.text + " " * (not word.joins_next) for word in words).rstrip()


def read_script(argument: str, duration_s: Fraction, allow_overrun: bool = False) -> Script:
    """Reads and normalises the user's script.

    Args:
        argument: the text, or the path of a text or subtitle file. It is a path if such a file exists or if
            it ends in `.txt`, `.srt` or `.vtt`.
        duration_s: of the video, seconds.
        allow_overrun: truncate cues at the end of the video instead of raising an error.

    Raises:
        UserError: the file is missing, not UTF-8 or not subtitles; a cue ends after the video or before its
            start; or nothing in the script can be spoken.
    """
    path = _as_path(argument)
    if path is None:
        return _untimed("--script", argument)
    text = _read_utf8(path)
    if path.suffix.lower() not in CUE_SUFFIXES:
        return _untimed(str(path), text)
    return _timed(path, text, duration_s, allow_overrun)


def _as_path(argument: str) -> pathlib.Path | None:
    path = pathlib.Path(argument)
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):  # too long for a file name, or with a null byte: text
        return None
    return path if path.suffix.lower() in FILE_SUFFIXES and "\n" not in argument else None


def _read_utf8(path: pathlib.Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such script file; give a path that exists, or the text itself") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a readable script file") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 (byte {error.start} is 0x{data[error.start]:02x}); save the script as UTF-8"
        ) from None


def _untimed(source: str, text: str) -> Script:
    words, unspoken = normalise(text)
    return Script(source, words, (), len(text.strip()), _check_spoken(source, text, words, unspoken))


def _timed(path: pathlib.Path, text: str, duration_s: Fraction, allow_overrun: bool) -> Script:
    try:
        events = pysubs2.SSAFile.from_string(text, format_=path.suffix.lower()[1:]).events
    except Exception as error:  # pysubs2 raises errors of any type
        raise UserError(f"{path}: not a subtitle file ({error}); give a valid .srt or .vtt file") from None
    if text.strip() and not events:
        raise UserError(
            f"{path}: holds no cue; a cue is a line `00:00:01,000 --> 00:00:02,500`, followed by its text"
        )
    cues, unspoken = [], {}
    for number, event in enumerate(events, start=1):
        start_s, end_s = Fraction(event.start, 1000), Fraction(event.end, 1000)
        if end_s <= start_s:
            raise UserError(
                f"{path}: cue {number} ends at {float(end_s):.2f} s, not after its start at "
                f"{float(start_s):.2f} s; correct its times"
            )
        if end_s > duration_s + CUE_TOLERANCE_S and not allow_overrun:
            raise UserError(
                f"{path}: cue {number} ends at {float(end_s):.2f} s but the video is "
                f"{float(duration_s):.2f} s long; shorten the cue or pass --allow-overrun"
            )
        words, strange = normalise(html.unescape(event.plaintext))
        unspoken.update(dict.fromkeys(strange))
        if start_s < duration_s:
            cues.append(Cue(start_s, min(end_s, duration_s), words))
    cues.sort(key=lambda cue: cue.start_s)
    words = tuple(word for cue in cues for word in cue.words)
    plain = " ".join(event.plaintext for event in events)
    warnings = _check_spoken(str(path), plain, words, tuple(unspoken))
    return Script(str(path), words, tuple(cues), len(plain), warnings)


def _check_spoken(
    source: str, text: str, words: tuple[Word, ...], unspoken: tuple[str, ...]
) -> tuple[str, ...]:
    if not unspoken:
        return ()
    named = " ".join(unspoken[:10]) + (f" and {len(unspoken) - 10} more" if len(unspoken) > 10 else "")
    if not words and text.strip():
        raise UserError(f"{source}: nothing in it can be spoken ({named}); write it in Latin letters")
    return (f"{source}: dropped characters that cannot be spoken: {named}",)


def normalise(text: str) -> tuple[tuple[Word, ...], tuple[str, ...]]:
    """Normalises a text to words of the letters a to z.

    Args:
        text: any Unicode text.

    Returns:
        The words, and the distinct characters that were dropped because they cannot be spoken, without
        punctuation and invisible characters.
    """
    folded = unicodedata.normalize("NFKD", text.casefold())
    folded = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", folded)  # 1,000
    folded = re.sub(r"(\d+)(?:\.(\d+))?", lambda m: f" {_spell_number(m[1], m[2])} ", folded)
    out: list[str] = []
    unspoken: dict[str, None] = {}
    for character in folded:
        category = unicodedata.category(character)
        if "a" <= character <= "z" or character in _SENTENCE_MARKS:
            out.append(character)
        elif character in _LIGATURES:
            out.append(_LIGATURES[character])
        elif character in _SPELT:
            out.append(f" {_SPELT[character]} ")
        elif character in _APOSTROPHES or category in ("Mn", "Cf"):
            continue  # removed without a word boundary: apostrophes, accents, soft hyphens
        else:
            out.append(" ")
            if category[0] in "LNSM" or category in ("Co", "Cn"):
                unspoken[character] = None
    return _split_words("".join(out)), tuple(unspoken)


def _split_words(text: str) -> tuple[Word, ...]:
    words: list[Word] = []
    for match in re.finditer(rf"([a-z]+)|([{re.escape(_SENTENCE_MARKS)}])", text):
        if match[1]:
            letters = match[1]
            length = len(letters) if len(letters) <= _LONGEST_WORD else _PIECE_LENGTH
            for start in range(0, len(letters), length):
                words.append(Word(letters[start : start + length], joins_next=start + length < len(letters)))
        elif words:
            words[-1] = dataclasses.replace(words[-1], ends_sentence=True)
    return tuple(words)


_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_MAX_DIGITS = 9  # longer numbers, and those with a leading zero, are spelt digit by digit


def _spell_number(whole: str, decimals: str | None) -> str:
    if len(whole) > _MAX_DIGITS or (len(whole) > 1 and whole[0] == "0"):
        words = _spell_digits(whole)
    else:
        words = _spell_integer(int(whole))
    return words if decimals is None else f"{words} point {_spell_digits(decimals)}"


def _spell_digits(digits: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in digits)


def _spell_integer(number: int) -> str:
    if number < 20:
        return _ONES[number]
    if number < 100:
        rest = f" {_ONES[number % 10]}" if number % 10 else ""
        return _TENS[number // 10] + rest
    for size, name in ((1_000_000, "million"), (1_000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = f" {_spell_integer(number % size)}" if number % size else ""
            return f"{_spell_integer(number // size)} {name}{rest}"
    raise AssertionError(number)
