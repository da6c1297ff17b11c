"""The text of a source as the words of a record's script, with their times where they are known."""

import re
from collections.abc import Sequence

from dualdub_jax.data_pipeline.builders.clips.source_clip import Word
from dualdub_jax.text.normaliser import normalise
from dualdub_jax.text.words import join_words

_ENGLISH = ("", "en", "eng", "english")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def spoken_text(text: str, language: str) -> str:
    """The words as they are spoken: of English those of `text.normaliser`, as `dualdub dub` has them.

    Text in another language keeps its letters; only its white space and control characters are made single
    spaces.
    """
    if not _is_english(language):
        return " ".join(_CONTROLS.sub(" ", text).split())
    return join_words(normalise(text)[0])


def written_words(text: str | None, language: str, script: str | None) -> tuple[str, ...] | None:
    """The words of a script with case and punctuation, for tokenizers that know them.

    Args:
        text: of the source.
        language: of the text.
        script: its spoken words.

    Returns:
        As many words as the script has; None if the text is unknown, or has other words.
    """
    if text is None or not script:
        return None
    written = join_words(normalise(text)[0], written=True) if _is_english(language) else text
    words = tuple(written.split())
    return words if len(words) == len(script.split()) and " ".join(words) != script else None


def spoken_words(words: Sequence[Word], language: str) -> tuple[Word, ...]:
    """Words with times, each as it is spoken; one that becomes several shares its time among them."""
    spoken = []
    for text, start_s, end_s in words:
        pieces = spoken_text(text, language).split()
        for number, piece in enumerate(pieces):
            length_s = (end_s - start_s) / len(pieces)
            spoken.append((piece, start_s + number * length_s, start_s + (number + 1) * length_s))
    return tuple(spoken)


def _is_english(language: str) -> bool:
    return language.lower().replace("_", "-").partition("-")[0] in _ENGLISH
