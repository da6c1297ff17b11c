"""Rewrites English written forms that the number grammars lack, or read otherwise than people do.

Each rule maps one written form to another that is read rightly: "$5k" becomes "$5 thousand", "1920's" becomes
"1920s", "3-2" becomes "3 to 2". Source: our choice.
"""

# ruff: noqa: RUF001 (dashes and signs)

import re
from collections.abc import Callable, Iterable

from dualdub_jax.text.units import CURRENCIES, DENOMINATORS, HUNDREDTHS, UNITS, named, plural

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_SCALES = {
    "k": "thousand", "m": "million", "mn": "million", "mio": "million", "b": "billion", "bn": "billion",
    "t": "trillion", "tn": "trillion",
}  # fmt: skip
_SIGN = r"(?:[$£€¥₹₩₽₺₪₿]|\b(?:USD|EUR|GBP|JPY|CHF))"
_SCALE_WORD = "hundred|thousand|million|billion|trillion"
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DECADES = {"1": "tens", "2": "twenties", "3": "thirties", "4": "forties", "5": "fifties", "6": "sixties",
            "7": "seventies", "8": "eighties", "9": "nineties"}  # fmt: skip
_FRACTIONS = (*range(2, 11), 12, 16, 20, 25, 32, 50, 64, 100, 1000)
_MAX_CARDINAL_DIGITS = 9  # longer numbers, and those with a leading zero, are read digit by digit


def _alternatives(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def spell_digits(number: str) -> str:
    """The digits in `number`, one by one; without other characters."""
    return " ".join(_DIGITS[int(digit)] for digit in number if digit in "0123456789")


def _clock(match: re.Match[str]) -> str:
    """A time with a.m. or p.m., whose letters are read apart; a period that ends a sentence stays."""
    rest = match.string[match.end() :]
    ends = match[0].endswith(".") and (not rest.strip() or re.match(r"\s+[A-Z]", rest))
    return f"{match[1]} {match[2].lower()} m" + "." * bool(ends)


def _amount(match: re.Match[str]) -> str:
    """A sum of money, with the name of its currency behind it; cents on their own."""
    sign, number, letter, word = match.groups()
    scale = _SCALES.get((letter or "").lower(), word)
    if scale:
        return f"{number} {scale} {plural(CURRENCIES[sign])}"
    whole, _, cents = number.partition(".")
    if sign not in HUNDREDTHS or len(cents) != 2:
        return named(number, CURRENCIES[sign])
    parts = [(whole, CURRENCIES[sign])] if whole.strip("0,") or not cents.strip("0") else []
    parts += [(str(int(cents)), HUNDREDTHS[sign])] if cents.strip("0") else []
    return " ".join(named(*part) for part in parts)


def _measure(match: re.Match[str]) -> str:
    number, unit, per = match.groups()
    return named(number, UNITS[unit]) + (f" per {DENOMINATORS[per]}" if per else "")


def _degrees(match: re.Match[str]) -> str:
    scale = {"C": " celsius", "F": " fahrenheit", "K": " kelvin"}.get(match[2], "")
    return f"{named(match[1], 'degree')}{scale} "


def _power(match: re.Match[str]) -> str:
    power = {"2": "squared", "3": "cubed"}.get(match[2])
    return f"{match[1]} {power or 'to the power of ' + match[2].replace('-', 'minus ')}"


def _fraction(match: re.Match[str]) -> str:
    """A fraction, a pair such as 24/7, or a day of a month."""
    over, under = int(match[1]), int(match[2])
    if over < under and under in _FRACTIONS:
        return match[0]
    if 1 <= over <= 12 and 12 < under <= 31:
        return f"{_MONTHS[over - 1]} {under}"
    return f"{over} {under}"


def _range(match: re.Match[str]) -> str:
    """Two numbers and a dash: a range or a score; a difference in an equation."""
    is_equation = re.match(r"\s*=", match.string[match.end() :]) is not None
    return f"{match[1]} minus {match[2]}" if is_equation else f"{match[1]} to {match[2]}"


def _product(match: re.Match[str]) -> str:
    return f"{match[1]} {'times' if '=' in match.string else 'by'} "


def _decade(match: re.Match[str]) -> str:
    return f"twenty {_DECADES[match[1]]}"


def _digits(match: re.Match[str]) -> str:
    """Groups of thousands, which tell a cardinal from a year; endless numbers digit by digit."""
    digits = match[0]
    if len(digits) > _MAX_CARDINAL_DIGITS or (digits[0] == "0" and len(digits) > 1):
        return spell_digits(digits)
    if len(digits) == 4 and 1100 <= int(digits) < 2100:
        return digits  # read as a year, in two halves
    return f"{int(digits):,}"


def _inches(text: str) -> str:
    """Inches are written with the sign of a quotation: they leave an odd number of them."""
    text = re.sub(r"(?<!\d)(\d{1,2})'\s?(\d{1,2})(?:\"|'')?(?!\w)", r"\1 foot \2", text)
    if text.count('"') % 2:
        text = re.sub(r'(\d)"', r"\1 inches", text, count=1)
    return text.replace('"', " ")


_RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"(?<![\d.,])\d{10,}(?![.,]?\d)|\d{19,}", lambda m: spell_digits(m[0])),  # first: others backtrack
    (r"https?://(?:www\.)?|\bwww\.", ""),
    (r"(?<=[a-z])\.(?=[A-Z][a-z])", ". "),
    (r"(?<=\w)/(?=\s|$)", " "),  # the end of an address
    (r"\band/or\b", "and or"),
    # Informal spellings whose letters alone would be read otherwise.
    (r"(?<!\w)'n'?(?!\w)|(?<!\w)n'(?!\w)|(?<!\w)[Aa]n'(?!\w)", "and"),
    (r"(?<!\w)([Oo])l'(?!\w)", r"\1le"),
    (r"\b([Nn])othin'(?!\w)", r"\1othing"),
    # Numbers with a sign or a mark.
    (r"\b([CF])#(?!\w)", r"\1 sharp"),
    (r"№\s?|\bN[o0]s?\.\s?(?=\d)|(?<![\w&])#(?=\d)", "number "),
    (r"(?<!\w)#(?=[A-Za-z])", "hashtag "),
    (r"\b(\d{1,3}(?: \d{3}){2,}|\d{1,3} 000)\b(?! ?\d)", lambda m: m[1].replace(" ", ",")),
    (r"(?<![\d,.])0+(?=,\d{3})", "0"),
    (r"\b(\d{1,4}0)'s\b", r"\1s"),
    (r"\b20([1-9])0s\b", _decade),
    (r"\b2000s\b", "two thousands"),
    (r"\((\d{3})\)\s?(\d{3})[ -](\d{4})\b", r"\1-\2-\3"),
    (r"\+\d{1,3}(?:[ -]\d{2,5}){2,}\b", lambda m: f"plus {spell_digits(m[0])}"),
    (r"(?<![\w.])\d{3}\.\d{3}\.\d{4}(?![\w.]*\d)", lambda m: spell_digits(m[0])),
    (r"(?<![\w.])\d+(?:\.\d+){2,}(?![\w.]*\d)", lambda m: m[0].replace(".", " point ")),
    (r"(?<![\w.-])(\d{3})-(\d{4})(?![\w-])", lambda m: f"{spell_digits(m[1])}, {spell_digits(m[2])}"),
    (r"(?<=\b[Cc]all |\b[Dd]ial )(911|999|112)\b", lambda m: spell_digits(m[0])),
    (r"(?<!\w)'0(\d)\b", r"oh \1"),  # '05
    (r"(?<![$£€¥\d.,])(\d+(?:\.\d+)?)k\b(?=\s(?!run|race|video|display)[a-z])", r"\1 thousand"),
    (r"(\d)'(?=\s(?:tall|high|long|wide|deep|x)\b)", r"\1 feet"),
    # Times.
    (r"(\d):00(?=\s*(?:[AaPp]\.?\s?[Mm]\b|o'clock))", r"\1"),
    (r"\b(\d{1,2}(?::\d{2})?)\s*([AaPp])\.?\s?[Mm]\b\.?", _clock),
    (r"\b([ap]) m\s?[-–]\s?(?=\d)", r"\1 m to "),
    (r"\b24:00\b", "midnight"),
    (r"\b(\d+):(\d)(?!\d|:)", r"\1 to \2"),
    # Money.
    (r"\bUS(?=\$)", ""),
    (rf"({_NUMBER})\s?([€£$])(?!\s?\d)", r"\2\1"),
    (rf"({_SIGN})\s?({_NUMBER})\s?[-–]\s?\1?({_NUMBER})", r"\2 to \1\3"),
    (rf"-(?={_SIGN}\s?\d)", "minus "),
    (rf"({_SIGN})\s?(\.\d+|{_NUMBER})(?:\s?(k|mn|mio|m|bn|b|tn|t)\b)?(?:\s({_SCALE_WORD})\b)?", _amount),
    (rf"({_NUMBER})\s?(¢|(?:USD|EUR|GBP|JPY|CHF)\b)", lambda m: named(m[1], CURRENCIES[m[2]])),
    # Measures.
    (rf"(-?{_NUMBER})\s*°\s*([CFK]\b)?", _degrees),
    (rf"(?<![\w.])(-?{_NUMBER})\s?({_alternatives(UNITS)})(?:/({_alternatives(DENOMINATORS)}))?(?![\w'/])",
     _measure),
    (rf"\b({_NUMBER})/({_alternatives(DENOMINATORS)})\b", lambda m: f"{m[1]} per {DENOMINATORS[m[2]]}"),
    # Relations of numbers.
    (r"(?<![\w./])(\d{1,2})\s?/\s?(\d{1,4})(?![\w./]*\d)", _fraction),
    (r"(?<![\w.,/-])(\d{1,4})\s?[-–]\s?(\d{1,4})(?![\d/-]|[.,]\d|:\d)", _range),
    (r"(?<=\d%)\s?[-–]\s?(?=\d)", " to "),
    (r"(\d)\s?[x×*]\s?(?=\d)", _product),
    (r"(\d)x\b", r"\1 times"),
    (r"(?<=\d)\s+[-−]\s+(?=\d)", " minus "),
    (r"(?<=\d/\d)-(?=[a-z])", " "),
    (r"(?<=\d)(st|nd|rd|th)-(?=[A-Za-z])", r"\1 "),
    (r"(?<![\w.])~\s?(?=[\d$£€])", "about "),
    (r"\bCO2\b", "C O 2"),
    (r"\b(AD|CE|BCE)(?=\s\d)|(?<=\d\s)(AD|CE|BCE)\b", lambda m: " ".join(m[1] or m[2])),
    (r"(\w)\s?\^\s?(-?\d+)", _power),
    (r"(?<=[a-z])/(?=[a-z])", " slash "),
    (r"(?<=[A-Z])/(?=[A-Z])", " "),
    (r"(?<=\s)\*(?=\s)", "times"),
    (r"(?<![\d.,:/-])(\d{4,})(?![\d,:/-]|\.\d|(?:st|nd|rd|th|s)\b)", _digits),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern), replacement) for pattern, replacement in _RULES)


def rewrite(text: str) -> str:
    """Rewrites numbers with signs and units to forms that the grammars read.

    Args:
        text: English; apostrophes, quotation marks and minus signs are those of ASCII.
    """
    text = _inches(text)
    for pattern, replacement in _COMPILED:
        text = pattern.sub(replacement, text)
    return text
