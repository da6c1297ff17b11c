"""Rates of speech, in letters and spaces a second. Source: our choice."""

from collections.abc import Sequence

from dualdub_jax.text.words import Word, join_words

COMFORTABLE_RATE = 14  # conversational English
MAX_RATE = 20  # the fastest intelligible speech


def count_letters(words: Sequence[Word]) -> int:
    """Letters and spaces of words as they are spoken; the unit of all rates."""
    return len(join_words(words))
