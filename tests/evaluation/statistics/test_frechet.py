"""The Fréchet distance against the formula that the field's packages compute, and its limit."""

import numpy as np
import pytest
import scipy.linalg

from dualdub_jax.evaluation.statistics.frechet import frechet_distance, frechet_distance_at_infinity


def _published(one: np.ndarray, other: np.ndarray) -> float:
    """As pytorch-fid and fadtk have it: covariances and `scipy.linalg.sqrtm` of their product."""
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    difference = one.mean(axis=0) - other.mean(axis=0)
    return difference @ difference + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root)


def _samples(seed: int, num_rows: int, size: int, mean: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_rows, size)) @ rng.standard_normal((size, size)) * 0.3 + mean


@pytest.mark.parametrize(
    ("num_one", "num_other", "size"),
    [(300, 200, 32), (100, 100, 16), (20, 15, 32), (12, 90, 32), (2, 2, 8)],
)
def test_equals_the_published_formula(num_one, num_other, size):
    # Below 33 rows the covariances of 32 dimensions are singular.
    one, other = _samples(1, num_one, size, 0.0), _samples(2, num_other, size, 0.5)
    assert frechet_distance(one, other) == pytest.approx(_published(one, other), rel=1e-6)


def test_equals_the_closed_form_of_diagonal_gaussians():
    # Rows ±s e_i have mean 0 and a diagonal covariance, so everything commutes.
    scales = np.array([[1.0, 2.0, 3.0], [2.0, 0.0, 1.0]])
    one, other = (np.concatenate([np.diag(s), -np.diag(s)]) for s in scales)
    deviations = scales * np.sqrt(2 / 5)
    expected = np.square(deviations[0] - deviations[1]).sum() + 3 * 4.0
    assert frechet_distance(one, other + 2.0) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("num_rows", [10, 200])
def test_equal_sets_are_at_distance_zero(num_rows):
    rows = _samples(3, num_rows, 32, 1.0)
    assert frechet_distance(rows, rows[::-1]) == pytest.approx(0, abs=1e-9)


def test_too_few_rows_have_no_distance():
    assert np.isnan(frechet_distance(np.zeros((1, 4)), np.zeros((5, 4))))
    assert np.isnan(frechet_distance_at_infinity([np.zeros((3, 4))] * 5, [np.zeros((3, 4))] * 5))


def test_extrapolation_takes_the_bias_away():
    rng = np.random.default_rng(4)
    one = [rng.standard_normal((5, 24)) for _ in range(60)]
    other = [rng.standard_normal((5, 24)) + 0.2 for _ in range(60)]
    truth = 24 * 0.2**2
    biased = frechet_distance(np.concatenate(one), np.concatenate(other))
    corrected = frechet_distance_at_infinity(one, other)
    assert biased > truth + 0.3
    assert abs(corrected - truth) < 0.5 * (biased - truth)


def test_extrapolation_of_equal_sets_is_not_negative():
    rng = np.random.default_rng(5)
    one = [rng.standard_normal((5, 24)) for _ in range(40)]
    assert min(frechet_distance_at_infinity(one, [rows[::-1] for rows in one]), 0.0) == 0.0
    pairs = [[[rng.standard_normal((5, 24)) for _ in range(40)] for _ in range(2)] for _ in range(6)]
    assert min(frechet_distance_at_infinity(*pair) for pair in pairs) >= 0.0
