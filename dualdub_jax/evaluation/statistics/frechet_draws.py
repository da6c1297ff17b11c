"""Fréchet distances of many bootstrap draws: the numbers of `frechet.py`, several times faster.

A draw repeats whole clips, so that it is a set of weights of the same rows: a row counts once however often
it is drawn. Its covariance is one symmetric product, factored by Cholesky in place of QR, and the sum of
singular values of a product M is that of the square roots of the eigenvalues of M Mᵀ. Rounding below 1e-8 of
the largest singular value is the price; it is far below the spread of the draws. Source: our choice.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dualdub_jax.evaluation.statistics.frechet import MIN_GROUPS, intercept, subset_sizes


class _Rows(NamedTuple):
    """Embeddings of all clips, float64[N, D], and the clip of each row, int[N]."""

    rows: np.ndarray
    clip: np.ndarray

    @classmethod
    def of(cls, clips: Sequence[np.ndarray]) -> "_Rows":
        lengths = [len(rows) for rows in clips]
        return cls(np.concatenate(clips).astype(np.float64), np.repeat(np.arange(len(clips)), lengths))


def frechet_draws(one: Sequence[np.ndarray], other: Sequence[np.ndarray], draws: np.ndarray) -> np.ndarray:
    """`frechet.frechet_distance` of every draw.

    Args:
        one: float[N_i, D] of each clip.
        other: float[M_i, D] of each clip, as many clips.
        draws: int[R, n], clips of each draw.

    Returns:
        float64[R].
    """
    sides = _Rows.of(one), _Rows.of(other)
    return np.array([_distance(sides, draw)[0] for draw in draws], np.float64)


def frechet_infinity_draws(
    one: Sequence[np.ndarray], other: Sequence[np.ndarray], draws: np.ndarray
) -> np.ndarray:
    """`frechet.frechet_distance_at_infinity` of every draw; arguments as of `frechet_draws`."""
    sides = _Rows.of(one), _Rows.of(other)
    return np.array([_at_infinity(sides, draw) for draw in draws], np.float64)


def _at_infinity(sides: tuple[_Rows, _Rows], draw: np.ndarray) -> float:
    if len(draw) < MIN_GROUPS:
        return float("nan")
    rng = np.random.default_rng(0)
    found = [_distance(sides, draw[rng.permutation(len(draw))[:size]]) for size in subset_sizes(len(draw))]
    return intercept([1 / num_rows for _, num_rows in found], [distance for distance, _ in found])


def _distance(sides: tuple[_Rows, _Rows], draw: np.ndarray) -> tuple[float, int]:
    """The distance of one draw, and the rows of its first side."""
    counts = np.bincount(draw, minlength=1 + max(int(side.clip.max(initial=0)) for side in sides))
    weights = [counts[side.clip] for side in sides]
    num_rows = int(weights[0].sum())
    if min(int(w.sum()) for w in weights) < 2:
        return float("nan"), num_rows
    (mean_1, trace_1, root_1), (mean_2, trace_2, root_2) = (
        _fit(side.rows, w) for side, w in zip(sides, weights, strict=True)
    )
    product = root_1 @ root_2.T
    square = product @ product.T if len(product) <= product.shape[1] else product.T @ product
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(square), 0)).sum()
    distance = np.square(mean_1 - mean_2).sum() + trace_1 + trace_2 - 2 * shared
    return max(float(distance), 0.0), num_rows


def _fit(rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Mean float64[D] of weighted rows, the trace of their covariance, and X of covariance XᵀX."""
    is_drawn = weights > 0
    rows, weights = rows[is_drawn], weights[is_drawn]
    count = weights.sum()
    mean = weights @ rows / count
    root = (rows - mean) * np.sqrt(weights / (count - 1))[:, None]
    trace = float(np.square(root).sum())
    if len(root) > root.shape[1]:
        try:
            root = np.linalg.cholesky(root.T @ root).T
        except np.linalg.LinAlgError:  # singular to rounding
            root = np.linalg.qr(root, mode="r")
    return mean, trace, root
