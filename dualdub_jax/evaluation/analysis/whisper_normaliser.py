"""Whisper's English text normaliser, by a library."""

import functools
from typing import Any

from dualdub_jax.evaluation.contracts.metric import Requirement

REQUIREMENT = Requirement("whisper-normalizer", "whisper_normalizer")


def whisper_normalise(text: str) -> str:
    """Normalises English before errors are counted.

    Numbers, times, amounts of money and ordinals become digits, contractions and titles are spelt out,
    spelling is American, and fillers and bracketed annotations are dropped.

    Args:
        text: a script or transcript; may be empty.

    Returns:
        Words separated by single spaces.
    """
    return " ".join(_normaliser()(text).split())


@functools.cache
def _normaliser() -> Any:
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()
