"""English abbreviations, initialisms and Roman numerals: written forms that depend on a list of words.

The grammars behind the normaliser read numbers, money, dates and addresses; these tables add what they lack.
Source: our choice.
"""

# ruff: noqa: RUF001 (dashes)

import re
from collections.abc import Iterable

# Before a name, with their period or without: "Dr. Smith", "St John".
_TITLES = {
    "Mr": "mister", "Mrs": "missus", "Ms": "miz", "Dr": "doctor", "Prof": "professor", "St": "saint",
    "Mt": "mount", "Sgt": "sergeant", "Capt": "captain", "Lt": "lieutenant", "Messrs": "messieurs",
    "MR": "mister", "MRS": "missus", "MS": "miz", "DR": "doctor",
}  # fmt: skip
# Before a name, with their period only, since they are words as well.
_DOTTED_TITLES = {
    "Gen": "general", "Gov": "governor", "Sen": "senator", "Rep": "representative", "Col": "colonel",
    "Cpl": "corporal", "Pvt": "private", "Maj": "major", "Cmdr": "commander", "Adm": "admiral",
    "Rev": "reverend", "Fr": "father", "Hon": "honorable", "Pres": "president", "Supt": "superintendent",
    "Det": "detective", "Insp": "inspector", "Ft": "fort",
}  # fmt: skip
# With their period, capitalised or not.
_WITH_PERIOD = {
    "jr": "junior", "sr": "senior", "ave": "avenue", "blvd": "boulevard", "rd": "road", "hwy": "highway",
    "bldg": "building", "ltd": "limited", "inc": "incorporated", "bros": "brothers", "dept": "department",
    "univ": "university", "govt": "government", "approx": "approximately", "vs": "versus",
    "mr": "mister", "mrs": "missus", "ms": "miz", "dr": "doctor", "prof": "professor", "sgt": "sergeant",
    "capt": "captain", "lt": "lieutenant", "etc": "et cetera", "e.g": "for example", "i.e": "that is",
    "viz": "namely", "misc": "miscellaneous",
}  # fmt: skip
# With their period, before a number.
_BEFORE_NUMBER = {
    "vol": "volume", "vols": "volumes", "fig": "figure", "figs": "figures", "ch": "chapter", "p": "page",
    "pp": "pages", "pg": "page", "apt": "apartment", "ca": "circa", "est": "established", "max": "maximum",
    "min": "minimum", "sec": "section", "ext": "extension", "ep": "episode", "op": "opus",
}  # fmt: skip
# Also without a period.
_ALWAYS = {
    "vs": "versus",
    "etc": "et cetera",
    "w/o": "without",
    "aka": "also known as",
    "approx": "approximately",
}
_DAYS = {
    "Mon": "monday", "Tue": "tuesday", "Tues": "tuesday", "Wed": "wednesday", "Thu": "thursday",
    "Thurs": "thursday", "Fri": "friday", "Sat": "saturday", "Sun": "sunday",
    "Jan": "january", "Feb": "february", "Mar": "march", "Apr": "april", "May": "may", "Jun": "june",
    "Jul": "july", "Aug": "august", "Sep": "september", "Sept": "september", "Oct": "october",
    "Nov": "november", "Dec": "december",
}  # fmt: skip

# Initialisms with vowels, which might pass for words; those without vowels need no list.
_INITIALISMS = frozenset(
    """
    ABC AC ADHD AI AOL API ATM AWS BBC BBQ CBS CEO CFO CIA CIO CNN COO CPU CTO DIY DOA DOB DUI EMT EP ETA
    ETD EU FAQ FBI GMO GPA GPU HIV IBM ICU ID IP IPO IQ IRS ISP IV MIT NBA NBC NCAA NFL NGO NRA NSA OMG PSA
    SOS SUV UCLA UFC UFO UI UK UN UPS URL USA USB USC USSR UV UX VIP
    """.split()  # noqa: SIM905
)
_LONGEST_INITIALISM = 5

_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_ROMAN = r"(?=[IVXL])(?:X[CL]|L?X{0,3})(?:I[XV]|V?I{0,3})"
_CHAPTERS = "Chapter|Act|Scene|Volume|Episode|Season|Appendix|Article|Canto|Symphony|Psalm|Bowl|War"
_PARTS = (  # words after which "I" may be the pronoun: "the Part I played"
    "Part|Book|Phase|Stage|Type|Level|Section|Title|Class|Grade|Figure|Verse|Lesson|Unit|Round|Mark|Step"
)
_MONARCHS = (
    "Henry|Louis|Elizabeth|George|Edward|Richard|Charles|James|William|Philip|Peter|Catherine|Napoleon|Paul|"
    "John|Pius|Benedict|Gregory|Leo|Ivan|Frederick|Ferdinand|Alexander|Nicholas|Francis|Innocent|Urban|Clement|"
    "Ramses|Otto|Christian|Margaret|Umberto|Ludwig|Wilhelm|Haakon|Olav|Harald|Gustav|Alfonso|Felipe|Albert|"
    "Leopold|Rudolf|Joseph|Boniface|Julius|Sixtus|Mehmed|Murad|Thutmose|Rama"
)


def _alternatives(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_TITLE = re.compile(
    rf"\b(?:({_alternatives(_TITLES)})(?:\.\s*|\s+)|({_alternatives(_DOTTED_TITLES)})\.\s*)(?=[A-Z])"
)
_STREET = re.compile(r"(?<=\w)(\s+)St\.?(?=\s*(?:$|[,;:!?)])|\s(?:[a-z]|[A-Z]{2}\b))")
_PERIOD = re.compile(rf"(?<![\w.])({_alternatives(_WITH_PERIOD)})\.(?!\w)", re.IGNORECASE)
_NUMBERED = re.compile(rf"(?<![\w.])({_alternatives(_BEFORE_NUMBER)})\.\s?(?=\d|[IVXL]+\b)", re.IGNORECASE)
_CENTURY = re.compile(rf"\b((?=[IVX]{{2}}){_ROMAN})\b(?=\scentur)")
_BARE = re.compile(rf"(?<![\w.])({_alternatives(_ALWAYS)})(?![\w.])", re.IGNORECASE)
_DAY = re.compile(rf"\b({_alternatives(_DAYS)})\.(?=\s?\d|\s*,|\s[a-z])|(?<=\d )({_alternatives(_DAYS)})\.")
_DAY_RANGE = re.compile(rf"\b({_alternatives(_DAYS)})\.?\s?[-–]\s?({_alternatives(_DAYS)})\b\.?")
_DOTTED = re.compile(r"\b(?:[A-Za-z]\.\s?){1,}[A-Za-z]\.(?!\w)|\b(?:[A-Za-z]\.){2,}(?=\w\b)")
_DEGREE = re.compile(r"\bPh\.?\s?D\b\.?")
_WITH = re.compile(r"(?<!\w)w/(?!o\b)\s?")
_AMPERSAND = re.compile(r"\b([A-Z]{1,3})&([A-Z]{1,3})\b")
_CHAPTER_NUMERAL = re.compile(
    rf"\b((?i:{_CHAPTERS})\s)({_ROMAN})\b(?!\.\w)|\b((?:{_PARTS})\s)((?!I\s[a-z]){_ROMAN})\b(?!\.\w)"
)
_KING = re.compile(rf"\b((?:King|Queen|Pope|Emperor|Tsar|Czar|Prince|Saint)\s[A-Z]\w+)\s({_ROMAN})\b")
_MONARCH = re.compile(rf"\b((?:{_MONARCHS})(?:\s(?:{_MONARCHS}))?)\s((?!I\b){_ROMAN})\b(?!\.\w)")
_SEQUEL = re.compile(r"\b([A-Z]\w*[a-z])\s((?=[IVX]{2})(?:X{0,3})(?:I[XV]|V?I{0,3}))\b(?!\.\w)")


_THE_US = re.compile(r"\b([Tt]he )US\b")
_INTERJECTION = re.compile(r"(.)\1\1|^MM|HM|SH|^PS+T|^ZZ|^GRR|^BRR|^TSK|^PF+T")  # "SHH", "HMM"


def expand_abbreviations(text: str) -> str:
    """Writes out titles, abbreviations, dotted initialisms and Roman numerals.

    Args:
        text: English with its capitals; straight apostrophes.
    """
    text = _NUMBERED.sub(lambda m: f"{_BEFORE_NUMBER[m[1].lower()]} ", text)
    text = _CENTURY.sub(lambda m: _with_suffix(_roman_value(m[1])), text)
    text = _CHAPTER_NUMERAL.sub(lambda m: f"{m[1] or m[3]}{_roman_value(m[2] or m[4])}", text)
    text = _KING.sub(lambda m: f"{m[1]} the {_with_suffix(_roman_value(m[2]))}", text)
    text = _MONARCH.sub(lambda m: f"{m[1]} the {_with_suffix(_roman_value(m[2]))}", text)
    text = _SEQUEL.sub(lambda m: f"{m[1]} {_roman_value(m[2])}", text)
    text = _DAY_RANGE.sub(lambda m: f"{_DAYS[m[1]]} to {_DAYS[m[2]]}", text)
    text = _STREET.sub(r"\1street", text)
    text = _TITLE.sub(lambda m: f"{_TITLES.get(m[1]) or _DOTTED_TITLES[m[2]]} ", text)
    text = _PERIOD.sub(_write_out, text)
    text = _DAY.sub(lambda m: _DAYS[m[1] or m[2]], text)
    text = _BARE.sub(lambda m: _ALWAYS[m[1].lower()], text)
    text = _DEGREE.sub("p h d", text)
    text = _WITH.sub("with ", text)
    text = _THE_US.sub(r"\1U S", text)
    text = _AMPERSAND.sub(lambda m: f"{' '.join(m[1])} and {' '.join(m[2])}", text)
    return _DOTTED.sub(_spell_dotted, text)


def spell_initialisms(text: str) -> str:
    """Separates the letters of initialisms: "TV", "FBI"."""

    def spell(match: re.Match[str]) -> str:
        word = match[1]
        has_vowel = re.search("[AEIOUY]", word)
        if has_vowel and word not in _INITIALISMS:
            return match[0]
        if len(word) > _LONGEST_INITIALISM or _INTERJECTION.search(word):
            return match[0]
        return " ".join(word) + "'s" * bool(match[2])

    return re.sub(r"(?<![\w'])([A-Z]{2,})((?:'?s)?)(?![\w'])", spell, text)


def _write_out(match: re.Match[str]) -> str:
    """The words of an abbreviation; its period stays where it ends the sentence as well."""
    rest = match.string[match.end() :]
    ends = not rest.strip() or (
        re.match(r"\s+[A-Z]", rest) and match[1].lower() in ("etc", "inc", "ltd", "ave", "blvd", "rd")
    )
    return _WITH_PERIOD[match[1].lower()] + "." * bool(ends)


def _spell_dotted(match: re.Match[str]) -> str:
    rest = match.string[match.end() :]
    ends = not rest.strip() or (len(match[0]) > 4 and re.match(r"\s+[A-Z][a-z]+\s[a-z]", rest))
    return " ".join(re.findall(r"[A-Za-z]", match[0])) + ("." if ends else " " if rest[:1].isalnum() else "")


def _roman_value(numeral: str) -> int:
    values = [_ROMAN_VALUES[letter] for letter in numeral]
    following = [*values[1:], 0]
    return sum(-v if v < after else v for v, after in zip(values, following, strict=True))


def _with_suffix(number: int) -> str:
    """The ordinal in digits: "8th"."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
