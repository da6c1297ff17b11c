"""A click or a step at a seam ranks above everything else; a seam in a steady track does not."""

import numpy as np
import pytest

from dualdub_jax.evaluation.analysis.seams import seam_ranks

RATE_HZ = 16_000
SEAMS_S = (2.0, 5.0, 7.5)


@pytest.fixture
def track() -> np.ndarray:
    rng = np.random.default_rng(0)
    swell = 1 + 0.5 * np.sin(np.arange(10 * RATE_HZ) / 900)
    return 0.05 * swell * rng.normal(size=10 * RATE_HZ)


def test_a_seam_that_is_none_is_like_other_places(track):
    seams_s = np.arange(0.5, 9.5, 0.9)
    ranks = seam_ranks(track, RATE_HZ, seams_s)
    assert ranks.shape == (10, 2) and 0.2 < ranks.mean() < 0.8


@pytest.mark.parametrize("fault", ["click", "step", "gap"])
def test_a_fault_at_a_seam_ranks_first(track, fault):
    for seam_s in SEAMS_S:
        at = round(seam_s * RATE_HZ)
        if fault == "click":
            track[at : at + 8] += 2.0
        elif fault == "step":
            track[at:] *= 10
        else:
            track[at - 80 : at + 320] = 0
    assert seam_ranks(track, RATE_HZ, SEAMS_S).max(axis=1).min() == 1.0
