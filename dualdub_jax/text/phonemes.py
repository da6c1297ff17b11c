"""Grapheme-to-phoneme conversion and the phoneme tokenizer, the bundled model's script input.

Words are looked up in a small bundled lexicon; `hibari-tts`, if installed, converts all others. Phonemes suit
a small corpus: about fifty symbols, each with thousands of examples in a few hours of speech.

Source: our choice; the paper uses BPE (tiktoken).
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
# Phoneme labels of aligned speech, without stress, two per frame of the grid; 0 is a pause.
SYMBOLS = {symbol: i for i, symbol in enumerate(_CONSONANTS + _VOWELS, start=1)}
PAUSE, LABELS_PER_FRAME = 0, 2
# "a" is an article or a letter with different pronunciations; the model disambiguates from context.
AMBIGUOUS = {"a": "a?"}


class PhonemeTokenizer:
    """Tokenizes English words into phonemes; stressed vowels are separate tokens.

    Ids: 0 is padding, 1 begin, 2 end, then the phonemes.

    Args:
        lexicon: JSON file of word -> phonemes, written by
            `dualdub_jax.data_pipeline.builders.puppet_stage.lexicon`.
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
        """Ids of the phonemes of `text` between begin and end marker; case and punctuation are ignored.

        Raises:
            UserError: words without a known pronunciation.
        """
        symbols = {word: self._symbols_of(word) for word in dict.fromkeys(spoken_words(text))}
        if unknown := [word for word, found in symbols.items() if not found]:
            raise UserError(f"cannot pronounce {', '.join(unknown)}; {_advice()}")
        ids = (self._ids[symbol] for word in spoken_words(text) for symbol in symbols[word])
        return [self.begin_id, *ids, self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """The phonemes of `ids` as one string, without spelling and word boundaries."""
        return "".join(self._symbols[i] for i in ids)

    def _symbols_of(self, word: str) -> list[str]:
        """Phonemes of a word; empty if the word or one of its phonemes is unknown."""
        if word in AMBIGUOUS:
            return [AMBIGUOUS[word]]
        found = symbols_in(self._lexicon.get(word) or pronounce(word))
        return found if all(symbol in self._ids for symbol in found) else []


def spoken_words(text: str) -> list[str]:
    """The words of `text`, lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())


def symbols_in(phonemes: str) -> list[str]:
    """Splits a string of phonemes into symbols: "sˈɛvən" becomes s, ˈɛ, v, ə, n."""
    return re.findall(f"{_STRESS}?[^{_STRESS}ˌ ]", phonemes)


def plain(phoneme: str) -> str:
    """A phoneme without its stress mark."""
    return phoneme.strip(_STRESS + "ˌ")


def pronounce(text: str) -> str:
    """The phonemes of `text` by hibari-tts; empty if it is not installed or the text is unknown."""
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
        return "without hibari-tts the lexicon covers Puppet Stage only: pip install 'dualdub-jax[g2p]'"
    return "write it out in English words"
