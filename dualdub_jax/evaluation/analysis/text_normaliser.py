"""Text normalisation of scripts and transcripts before errors are counted.

Different spellings of the same words are mapped to one ("F2" and "f two", "don't" and "do not"). Homophones
("for" and "four") are kept distinct, since they are recognition errors.

Source: our choice, after Whisper's English normaliser (Radford et al., 2022); smaller, and it spells numerals
where Whisper's writes digits.
"""

import re
import unicodedata

_NEGATIONS = {
    "won't": "will not",
    "can't": "can not",
    "cannot": "can not",
    "shan't": "shall not",
    "ain't": "is not",
}
_IS_AFTER = "it|that|this|there|here|what|where|who|how|when|why|he|she"
_ENDINGS = (
    (r"\blet's\b", "let us"),
    (rf"\b({_IS_AFTER})'s\b", r"\1 is"),
    (r"n't\b", " not"),
    (r"'re\b", " are"),
    (r"'ve\b", " have"),
    (r"'ll\b", " will"),
    (r"'m\b", " am"),
    (r"\b(i|you|he|she|it|we|they)'d\b", r"\1 would"),
    (r"\bo'clock\b", "oclock"),
)
_WORDS = {
    "gonna": "going to", "wanna": "want to", "gotta": "got to", "okay": "ok", "mr": "mister", "mrs": "missus",
    "dr": "doctor", "colour": "color", "neighbour": "neighbor", "grey": "gray", "favourite": "favorite",
    "harbour": "harbor", "honour": "honor", "centre": "center", "theatre": "theater", "metre": "meter",
    "travelling": "traveling", "traveller": "traveler", "realise": "realize", "recognise": "recognize",
    "organise": "organize", "tyre": "tire", "plough": "plow",
}  # fmt: skip
_SYMBOLS = {"%": " percent ", "&": " and ", "+": " plus ", "@": " at ", "=": " equals "}
_CURRENCIES = {"$": "dollars", "£": "pounds", "€": "euros"}
_APOSTROPHES = "[\u2018\u2019\u02bc\u00b4`]"
_NUMBER = r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ("", "thousand", "million", "billion")
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip


def normalise(text: str) -> str:
    """Normalises a text to lower-case words separated by single spaces.

    Args:
        text: English; may be empty.

    Returns:
        Words of a to z (other alphabets keep their letters). Accents are removed, contractions expanded,
        numerals spelt, letters separated from digits ("B2" becomes "b two"), bracketed annotations
        ("[music]") dropped, and common British spellings replaced by American ones. Idempotent.
    """
    text = re.sub(_APOSTROPHES, "'", text.lower())
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    text = re.sub(r"\[[^\]]*\]|\([^)]*\)|<[^>]*>|\*[^*]*\*", " ", text)
    text = re.sub(rf"([$£€])\s?({_NUMBER})", lambda m: f"{m[2]} {_CURRENCIES[m[1]]}", text)
    text = re.sub(rf"({_NUMBER})(st|nd|rd|th)\b", lambda m: f" {_ordinal(m[1])} ", text)
    text = re.sub(_NUMBER, lambda m: f" {_number(m[0])} ", text)
    for symbol, word in _SYMBOLS.items():
        text = text.replace(symbol, word)
    for short, long in _NEGATIONS.items():
        text = re.sub(rf"\b{short}\b", long, text)
    for ending, long in _ENDINGS:
        text = re.sub(ending, long, text)
    text = re.sub(r"(\w)'s\b", r"\1s", text)  # a possessive is a homophone of the plural
    words = re.sub(r"[\W_]+", " ", text.replace("'", "")).split()
    return " ".join(_WORDS.get(word, word) for word in words)


def _number(digits: str) -> str:
    """Spells "1,234", "007" or "2.5"; numbers with a leading zero or beyond billions digit by digit."""
    whole, _, fraction = digits.replace(",", "").partition(".")
    is_read_out = (len(whole) > 1 and whole.startswith("0")) or len(whole) > 3 * len(_SCALES)
    words = _digits(whole) if is_read_out else _cardinal(int(whole))
    return f"{words} point {_digits(fraction)}" if fraction else words


def _digits(digits: str) -> str:
    return " ".join(_ONES[int(d)] for d in digits)


def _cardinal(number: int) -> str:
    if number == 0:
        return "zero"
    groups = []
    for scale in _SCALES:
        number, group = divmod(number, 1000)
        if group:
            groups.insert(0, f"{_below_thousand(group)} {scale}".strip())
    return " ".join(groups)


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = [_ONES[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        words.append(_TENS[rest // 10])
        rest %= 10
    if rest:
        words.append(_ONES[rest])
    return " ".join(words)


def _ordinal(digits: str) -> str:
    *head, last = _number(digits).split()
    last = _ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return " ".join([*head, last])
