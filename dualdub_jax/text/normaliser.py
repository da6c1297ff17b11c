"""Text normalisation: written English to the words that are spoken.

    characters -> abbreviations -> written forms -> grammars -> symbols -> letters

The grammars are those of NVIDIA's NeMo Text Processing, run without its compiler by `kitten-text-processing`.
They read numbers, ordinals, dates, times, money, measures, fractions, telephone numbers and addresses.
Words that are not beside a number or an address never reach them, and are spoken as they are.
`abbreviations` and `written_forms` add what the grammars lack.

The words are lower case, with their written forms beside them; accents are folded (`é` becomes `e`), and the
apostrophes of contractions are kept: "I'll" is another word than "ill". Source: our choice; grammars: Zhang
et al., "NeMo Inverse Text Normalization", 2021.
"""

import functools
import itertools
import re
import unicodedata
from typing import Any

from dualdub_jax.text.abbreviations import expand_abbreviations, spell_initialisms
from dualdub_jax.text.words import PAUSE_MARKS, SENTENCE_MARKS, Word, split_words
from dualdub_jax.text.written_forms import rewrite, spell_digits

_APOSTROPHES = re.compile("[`\u00b4\u2018\u2019\u201b\u02bc\u02b9\u2032\uff07]")
_QUOTES = re.compile("[\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02\u2033]")
_DASHES = re.compile("\\s?[\u2014\u2015]\\s?|--+")  # em dashes separate words and are never a minus sign
_MINUS = re.compile("[\u2010\u2011\u2012\u2212\ufe63\uff0d]")
_SPACES = re.compile("[\u00a0\u2007\u2009\u202f](?=\\d{3})")
_FRACTIONS = re.compile("(?<=\\d)(?=[\u00bc-\u00be\u2150-\u215e])")
_SUPERSCRIPT = re.compile("\u207b?[\u00b9\u00b2\u00b3\u2070\u2074-\u2079]+")
_MARKS = re.compile("[\u2122\u00ae\u00a9\u2120]")  # NFKD would turn them into letters
_LIGATURES = {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\u0131": "i"}

# Longer first. Read wherever they stand once the grammars have read those that belong to a number.
_SYMBOLS = {
    "<=>": " to ", "<->": " to ", "->": " to ", "=>": " to ", "<=": " less than or equal to ",
    ">=": " greater than or equal to ", "!=": " not equal to ", "==": " equals ", "<": " less than ",
    ">": " greater than ", "=": " equals ", "+": " plus ", "&": " and ", "@": " at ", "%": " percent ",
    "\u2192": " to ", "\u2264": " less than or equal to ", "\u2265": " greater than or equal to ",
    "\u2260": " not equal to ", "\u2248": " about ", "\u00b1": " plus or minus ", "\u00d7": " times ",
    "\u00f7": " divided by ", "\u221a": " square root of ", "\u221e": " infinity ", "\u00b0": " degrees ",
    "\u03c0": " pi ", "\u00a7": " section ", "$": " dollars ", "\u20ac": " euros ", "\u00a3": " pounds ",
    "\u00a5": " yen ", "\u00a2": " cents ", "^": " to the power of ", "\u2030": " per mille ",
}  # fmt: skip
# Before the grammars, which read them otherwise ("equal sign") or not at all.
_EARLY = re.compile("|".join(re.escape(symbol) for symbol in _SYMBOLS if symbol not in "+&@%$€£¥^°"))
_LATE = re.compile("|".join(re.escape(symbol) for symbol in _SYMBOLS))

_NO_WORD = re.compile(r"[*~#|\\_{}\[\]()\u2026]")  # the grammars name them: "asterisk"
# The grammars take time, more than in proportion to the text, so that they read short segments: the words
# beside a number that may belong to it ("the 5th of May 2020").
_NUM_NEIGHBOURS = 2
_SOME_LETTERS, _MAX_LETTERS = 30, 60  # a segment is divided after a mark, or anywhere
_NEEDS_GRAMMAR = re.compile(r"\d|\w@\w|\w\.(?:com|org|net|edu|gov|info|io|tv|uk|de)\b|C\+\+")


def normalise(text: str) -> tuple[tuple[Word, ...], tuple[str, ...]]:
    """Normalises an English text to spoken words.

    Args:
        text: any Unicode text.

    Returns:
        The words, and the distinct characters that were dropped because they cannot be spoken, without
        punctuation and invisible characters.
    """
    spoken, unspoken = [], {}
    for line in _plain_characters(text, unspoken).splitlines():
        written = rewrite(expand_abbreviations(line))
        written = _EARLY.sub(lambda match: _SYMBOLS[match[0]], written)
        read = " ".join(_read_numbers(segment) for segment in _segments(written))
        read = _LATE.sub(lambda match: _SYMBOLS[match[0]], read)
        spoken.append(_letters(spell_initialisms(read), unspoken))
    return split_words(" ".join(spoken)), tuple(unspoken)


def _plain_characters(text: str, unspoken: dict[str, None]) -> str:
    """Variants of apostrophes, quotation marks, dashes and digits become those of ASCII."""
    unspoken.update(dict.fromkeys(_MARKS.findall(text)))
    text = _MARKS.sub("", text)
    text = _APOSTROPHES.sub("'", _QUOTES.sub('"', text))
    text = _MINUS.sub("-", _DASHES.sub(" , ", text))
    text = _FRACTIONS.sub(" ", _SPACES.sub(",", text))
    text = _SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKD", m[0]).replace("\u2212", "-"), text)
    text = re.sub("[\u2460-\u2473\u2160-\u217f]", lambda m: unicodedata.normalize("NFKD", m[0]), text)
    text = "".join(_ascii_digit(c) for c in text)
    return text.replace("\u2044", "/")


def _ascii_digit(character: str) -> str:
    if character.isascii():
        return character
    if unicodedata.category(character) in ("Nd", "No"):
        return unicodedata.normalize("NFKD", character) if not character.isdecimal() else str(int(character))
    # Full-width forms.
    return unicodedata.normalize("NFKC", character) if "\uff01" <= character <= "\uff5e" else character


def _segments(text: str) -> list[str]:
    """Divides a line into stretches with numbers, in short segments, and stretches without."""
    words = [piece for word in text.split() for piece in _pieces(word)]
    numbers = [index for index, word in enumerate(words) if _NEEDS_GRAMMAR.search(word)]
    near = {index + offset for index in numbers for offset in range(-_NUM_NEIGHBOURS, _NUM_NEIGHBOURS + 1)}
    segments = []
    for _, group in itertools.groupby(range(len(words)), key=near.__contains__):
        segment = ""
        for word in (words[index] for index in group):
            is_end = segment.endswith(tuple(",;:.!?")) and len(segment) > _SOME_LETTERS
            if is_end or len(segment) > _MAX_LETTERS:
                segments.append(segment)
                segment = ""
            segment += f" {word}" if segment else word
        segments.append(segment)
    return segments


def _pieces(word: str) -> list[str]:
    """A word; in pieces if it is endless and the grammars read it."""
    if len(word) <= _MAX_LETTERS or not _NEEDS_GRAMMAR.search(word):
        return [word]
    return [word[start : start + _MAX_LETTERS] for start in range(0, len(word), _MAX_LETTERS)]


def _read_numbers(text: str) -> str:
    """Reads a segment by the grammars; where they fail on the whole, token by token."""
    if not _NEEDS_GRAMMAR.search(text):
        return text
    text = _NO_WORD.sub(" ", text)
    try:
        spoken = _read(text)
    except Exception:  # the package raises errors of several types for text outside its grammars
        spoken = " ".join(_read_token(token) for token in text.split())
    spoken = re.sub(r"(?<=\w) ' (?=s\b)", "'", spoken)
    return re.sub(r"\d+", lambda match: f" {spell_digits(match[0])} ", spoken)


def _read_token(token: str) -> str:
    try:
        return _read(token)
    except Exception:  # its digits are spelt below, its other characters are listed as not spoken
        return token


@functools.lru_cache(maxsize=4096)
def _read(text: str) -> str:
    return _grammars().normalize(text)


@functools.cache
def _grammars() -> Any:
    import kitten_text_processing  # takes a fraction of a second and 100 MB: imported when it is needed

    return kitten_text_processing.Normalizer(lang="en")


def _letters(text: str, unspoken: dict[str, None]) -> str:
    """Letters a to z of either case, apostrophes, marks and spaces; collects what it drops."""
    out: list[str] = []
    for character in unicodedata.normalize("NFKD", text):
        category, folded = unicodedata.category(character), character.casefold()
        if character in SENTENCE_MARKS + PAUSE_MARKS + "'":
            out.append(character)
        elif all("a" <= letter <= "z" for letter in folded):
            out.append(character if character.isascii() else folded)
        elif folded in _LIGATURES:
            out.append(_LIGATURES[folded])
        elif category in ("Mn", "Cf"):
            continue  # removed without a word boundary: accents, soft hyphens
        else:
            out.append(" ")
            if (category[0] in "LNSM" or category in ("Co", "Cn")) and character not in "`^~|":
                unspoken[character] = None
    return "".join(out)
