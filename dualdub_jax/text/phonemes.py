"""Script text to phonemes: what the bundled model reads.

Words are looked up in a small lexicon that comes with the package; `hibari-tts`, where it is installed,
pronounces all others. Source: our choice. Phonemes are the usual input of speech synthesis: some fifty
sounds, each heard thousands of times in a corpus of a few hours, in place of words that are rarer the more
of them there are.
"""

# ruff: noqa: RUF001 (phonemes look like letters)

import functools
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from dualdub_jax.errors import UserError

LEXICON_FILE = pathlib.Path(__file__).parents[1] / "assets" / "lexicon.json"

# The inventory of misaki's American English, one character a sound; diphthongs are capital letters.
_CONSONANTS = "bdfhjklmnpstvwzðŋɡɹʃʒʤʧθTɾʔ"
_VOWELS = "AIOQWYaeiouæɑɐɒɔəɚɛɜɪʊʌᵊᵻ"
_STRESS = "ˈ"  # secondary stress is read as none
# What is said is labelled with plain phonemes, stressed or not, twice a frame of the grid; 0 is a pause.
SYMBOLS = {symbol: i for i, symbol in enumerate(_CONSONANTS + _VOWELS, start=1)}
PAUSE, LABELS_PER_FRAME = 0, 2
# "a" is an article or a letter, and sounds accordingly; which of them is for the model to see from its place.
AMBIGUOUS = {"a": "a?"}


class PhonemeTokenizer:
    """Phonemes of English words: id 0 is padding, then begin and end; a stressed vowel has an id of its own.

    Args:
        lexicon: file that maps words to phonemes, as `data_pipeline.builders.puppet_stage.lexicon` makes it.
    """

    pad_id, begin_id, end_id = 0, 1, 2

    def __init__(self, lexicon: pathlib.Path = LEXICON_FILE) -> None:
        self._lexicon: dict[str, str] = json.loads(lexicon.read_text(encoding="utf-8"))
        symbols = [*_CONSONANTS, *_VOWELS, *(_STRESS + vowel for vowel in _VOWELS), *AMBIGUOUS.values()]
        self._symbols = ["", "", "", *symbols]
        self._ids = {symbol: i for i, symbol in enumerate(self._symbols) if symbol}

    @property
    def vocab_size(self) -> int:
        return len(self._symbols)

    def encode(self, text: str) -> list[int]:
        """Ids of the phonemes of `text` between a begin and an end marker; case and punctuation are ignored.

        Raises:
            UserError: words that nobody here can pronounce.
        """
        symbols = {word: self._symbols_of(word) for word in dict.fromkeys(spoken_words(text))}
        if unknown := [word for word, found in symbols.items() if not found]:
            raise UserError(f"cannot pronounce {', '.join(unknown)}; {_advice()}")
        ids = (self._ids[symbol] for word in spoken_words(text) for symbol in symbols[word])
        return [self.begin_id, *ids, self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """The phonemes of `ids` in one string; the words' spelling and borders are gone."""
        return "".join(self._symbols[i] for i in ids)

    def _symbols_of(self, word: str) -> list[str]:
        """Phonemes of a word; empty where it, or a sound in it, is not known."""
        if word in AMBIGUOUS:
            return [AMBIGUOUS[word]]
        found = symbols_in(self._lexicon.get(word) or pronounce(word))
        return found if all(symbol in self._ids for symbol in found) else []


def spoken_words(text: str) -> list[str]:
    """The words of `text`, lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())


def symbols_in(phonemes: str) -> list[str]:
    """Cuts a string of phonemes into tokens: "sˈɛvən" is s, ˈɛ, v, ə, n."""
    return re.findall(f"{_STRESS}?[^{_STRESS}ˌ ]", phonemes)


def plain(phoneme: str) -> str:
    """A phoneme without its mark of stress."""
    return phoneme.strip(_STRESS + "ˌ")


def pronounce(text: str) -> str:
    """The phonemes of `text` by hibari-tts; empty where that is not installed or does not know."""
    phonemiser = _phonemiser()
    return "" if phonemiser is None else " ".join(phonemiser.phonemize(text))


@functools.cache
def _phonemiser() -> Any:
    try:
        import hibari
    except ImportError:
        return None
    return hibari.Hibari(threads=1)


def _advice() -> str:
    if _phonemiser() is None:
        return "without hibari-tts it has only the words of Puppet Stage: pip install 'dualdub-jax[g2p]'"
    return "write it out in English words"
