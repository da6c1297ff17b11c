"""The Fréchet distance between Gaussian fits of two sets of embeddings, and its extrapolation to N → ∞.

    d² = |m₁ - m₂|² + tr C₁ + tr C₂ - 2 tr (C₁ C₂)^½

With C = XᵀX, X the centred embeddings over √(n - 1), the last trace is the sum of the singular values of
X₁X₂ᵀ. This needs no matrix square root and no regularisation of singular covariances, and is exact for fewer
samples than dimensions (where the published formula has a relative error of about 1e-8).

Source: Heusel et al. (2017) for the distance; Chong and Forsyth (2020) for the extrapolation; the identity is
our derivation.
"""

from collections.abc import Sequence

import numpy as np

_NUM_SIZES = 6
_SMALLEST_SHARE = 0.25
MIN_GROUPS = 16


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """The squared Fréchet distance d², in float64.

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
    # With more rows than dimensions, the R factor of a QR decomposition has the same covariance.
    small = [np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root for root in roots]
    shared = np.linalg.svd(small[0] @ small[1].T, compute_uv=False).sum()
    return max(float(np.square(means[0] - means[1]).sum() + traces - 2 * shared), 0.0)


def frechet_distance_at_infinity(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """The distance extrapolated to infinitely many samples; its bias is proportional to 1 / N.

    Computes the distance on random subsets of the groups (clips), from a quarter to all of them, with a fixed
    seed and the same groups on both sides. Fits a line to distance over 1 / N and returns its intercept.

    Args:
        one: float[N_i, D] of each group.
        other: float[M_i, D] of each group, as many groups.

    Returns:
        The intercept, at least 0; NaN with fewer than 16 groups.
    """
    num_groups = len(one)
    if num_groups < MIN_GROUPS:
        return float("nan")
    rng = np.random.default_rng(0)
    inverses, distances = [], []
    for size in subset_sizes(num_groups):
        chosen = rng.permutation(num_groups)[:size]
        left, right = (np.concatenate([side[i] for i in chosen]) for side in (one, other))
        inverses.append(1 / len(left))
        distances.append(frechet_distance(left, right))
    return intercept(inverses, distances)


def subset_sizes(num_groups: int) -> list[int]:
    """Sizes of the subsets that `frechet_distance_at_infinity` measures, evenly spaced in 1 / N."""
    return [round(num_groups / inverse) for inverse in np.linspace(1, 1 / _SMALLEST_SHARE, _NUM_SIZES)]


def intercept(inverses: Sequence[float], distances: Sequence[float]) -> float:
    """Where a line through distances over 1 / N meets N = infinity; at least 0."""
    _, at_infinity = np.polyfit(inverses, distances, 1)
    return max(float(at_infinity), 0.0)
