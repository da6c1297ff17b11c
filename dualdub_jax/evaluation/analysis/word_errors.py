"""Word and character error counts: substitutions, deletions and insertions by edit distance."""

from collections.abc import Sequence

import numpy as np


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """The Levenshtein distance between two sequences of words or characters."""
    row = list(range(len(hypothesis) + 1))
    for i, a in enumerate(reference, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(hypothesis, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def word_errors(reference: str, hypothesis: str) -> np.ndarray:
    """float64[2]: word errors and words of `reference`; both texts normalised by `text_normaliser`."""
    words = reference.split()
    return np.asarray([edit_distance(words, hypothesis.split()), len(words)], np.float64)


def character_errors(reference: str, hypothesis: str) -> np.ndarray:
    """float64[2]: character errors and characters of `reference`, spaces included; both texts normalised."""
    return np.asarray([edit_distance(reference, hypothesis), len(reference)], np.float64)


def error_rate(value: np.ndarray) -> float:
    """The error rate of one clip from float64[2] (errors, size); NaN if size is 0."""
    return float(value[0] / value[1]) if value[1] else float("nan")
