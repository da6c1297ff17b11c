"""FD, KL and the inception score on given features, against the public code."""

import warnings

import numpy as np
import pytest

from dualdub_jax.evaluation.statistics.background_formulas import divergence, inception_score
from dualdub_jax.evaluation.statistics.frechet import frechet_distance
from tests.convert.ports import golden


@pytest.fixture(params=["many", "few"])
def name(request):
    """More rows than dimensions, or fewer."""
    return request.param


def test_they_are_audioldm_evals(name):
    generated, true = golden("formulas", f"{name}/generated"), golden("formulas", f"{name}/true")
    assert frechet_distance(generated, true) == pytest.approx(
        float(golden("formulas", f"{name}/fd")), rel=1e-6
    )
    mean = np.mean([divergence(t, g) for t, g in zip(true, generated, strict=True)])
    assert mean == pytest.approx(float(golden("formulas", f"{name}/kl")), abs=1e-6)


def test_the_inception_score_is_audioldm_evals():
    generated = golden("formulas", "many/generated")
    assert inception_score(list(generated)) == pytest.approx(float(golden("formulas", "many/is")), abs=1e-6)


def test_identical_sets_and_few_clips_have_stated_results():
    rows = golden("formulas", "few/generated")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert frechet_distance(rows, rows) == pytest.approx(0.0, abs=1e-6)
        assert np.isfinite(frechet_distance(rows[:2], rows[2:4]))
        assert np.isnan(frechet_distance(rows[:1], rows))
        assert np.isnan(inception_score(list(rows)))
        assert divergence(rows[0], rows[0]) == pytest.approx(0.0, abs=1e-4)
        # A class that the generated clip rules out costs at most -log(1e-6).
        sure = np.array([200.0, 0.0])
        assert divergence(sure, sure[::-1]) == pytest.approx(-np.log(1e-6), abs=1e-3)
