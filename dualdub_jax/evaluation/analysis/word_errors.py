"""Word and character error counts: the least number of substitutions, deletions and insertions."""

from collections.abc import Sequence

import numpy as np


def edit_distance(said: Sequence[str], heard: Sequence[str]) -> int:
    """Levenshtein's distance between two sequences of words, or of characters."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(heard, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def word_errors(said: str, heard: str) -> np.ndarray:
    """float64[2]: errors and words of `said`; both texts normalised, see `text_normaliser`."""
    words = said.split()
    return np.asarray([edit_distance(words, heard.split()), len(words)], np.float64)


def character_errors(said: str, heard: str) -> np.ndarray:
    """float64[2]: errors and characters of `said`, blanks counted as characters; both texts normalised."""
    return np.asarray([edit_distance(said, heard), len(said)], np.float64)


def error_rate(value: np.ndarray) -> float:
    """A clip's own rate of float64[2] (errors, size); NaN of nothing."""
    return float(value[0] / value[1]) if value[1] else float("nan")
