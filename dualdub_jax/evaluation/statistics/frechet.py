"""The Fréchet distance of two sets of embeddings, each taken as a Gaussian, and its limit for many samples.

    d² = |m₁ - m₂|² + tr C₁ + tr C₂ - 2 tr (C₁ C₂)^½

With C = XᵀX, X the centred embeddings over √(n - 1), the last trace is the sum of the singular values of
X₁X₂ᵀ: no square root of a matrix, no 1e-6 added to a singular one, exact for fewer samples than dimensions
(there the published formula is off by about 1e-8 of the distance).
Source: Heusel et al. 2017 for the distance; the identity is ours to state; the limit is Chong and Forsyth
2020.
"""

from collections.abc import Sequence

import numpy as np

_NUM_SIZES = 6
_SMALLEST_SHARE = 0.25
_MIN_GROUPS = 16


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """The distance d² in float64.

    Args:
        one: float[N, D], N at least 2.
        other: float[M, D], M at least 2.

    Returns:
        d², at least 0; NaN with fewer than two rows on a side.
    """
    if min(len(one), len(other)) < 2:
        return float("nan")
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    means = one.mean(axis=0), other.mean(axis=0)
    roots = [(rows - mean) / np.sqrt(len(rows) - 1) for rows, mean in zip((one, other), means, strict=True)]
    traces = sum(np.square(root).sum() for root in roots)
    # More rows than dimensions: the triangle of a QR decomposition has the same covariance.
    small = [np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root for root in roots]
    shared = np.linalg.svd(small[0] @ small[1].T, compute_uv=False).sum()
    return max(float(np.square(means[0] - means[1]).sum() + traces - 2 * shared), 0.0)


def frechet_distance_at_infinity(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """What the distance would be for endlessly many samples: it falls as 1 / N, so a line finds it.

    Subsets of groups (clips) from a quarter to all of them, drawn at random by a fixed seed, the same groups
    on both sides; a line through the distances over 1 / rows, read at 0.

    Args:
        one: float[N_i, D] of each group.
        other: float[M_i, D] of each group, as many groups.

    Returns:
        The intercept, which chance may put a little below 0; NaN with fewer than 16 groups.
    """
    num_groups = len(one)
    if num_groups < _MIN_GROUPS:
        return float("nan")
    rng = np.random.default_rng(0)
    inverses, distances = [], []
    for inverse_share in np.linspace(1, 1 / _SMALLEST_SHARE, _NUM_SIZES):
        chosen = rng.permutation(num_groups)[: round(num_groups / inverse_share)]
        left, right = (np.concatenate([side[i] for i in chosen]) for side in (one, other))
        inverses.append(1 / len(left))
        distances.append(frechet_distance(left, right))
    _, intercept = np.polyfit(inverses, distances, 1)
    return float(intercept)
