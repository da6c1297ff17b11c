"""The faster distances of bootstrap draws are those of the plain formula."""

import numpy as np
import pytest

from dualdub_jax.evaluation.metrics.paper import background, fad
from dualdub_jax.evaluation.metrics.tagger import Tagger
from dualdub_jax.evaluation.statistics import bootstrap

DRAWS = np.random.default_rng(1).integers(24, size=(6, 24))


def patches(num_clips: int, dim: int, num_patches: int, seed: int = 0) -> list[np.ndarray]:
    """float64[N, 2, D] of clips of different lengths, in a few directions more than in others."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dim, dim)) * np.exp(-np.arange(dim) / 4)
    return [
        np.maximum(rng.normal(size=(1 + (i + num_patches) % num_patches, 2, dim)) @ mixing, 0)
        + [[0], [0.1]] * np.ones(dim)
        for i in range(num_clips)
    ]


@pytest.mark.parametrize("name", ["fad", "fad_infinity"])
@pytest.mark.parametrize(("dim", "num_patches"), [(8, 4), (40, 3), (200, 2)])  # more and fewer rows than D
def test_draws_of_patches(name, dim, num_patches):
    (figure,) = (figure for figure in Tagger.figures if figure.name == name)
    values = patches(24, dim, num_patches)
    expected = [figure.summarise([values[i] for i in draw]) for draw in DRAWS]
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(figure.draws(values, DRAWS), expected, rtol=1e-6, atol=1e-6)


def test_singular_covariances():
    (figure,) = (figure for figure in Tagger.figures if figure.name == "fad")
    values = [np.repeat(value, 2, axis=-1) for value in patches(24, 6, 4)]
    expected = [figure.summarise([values[i] for i in draw]) for draw in DRAWS]
    np.testing.assert_allclose(figure.draws(values, DRAWS), expected, rtol=1e-6, atol=1e-6)
    same = [value[:, :1].repeat(2, axis=1) for value in values]
    np.testing.assert_allclose(figure.draws(same, DRAWS), 0, atol=1e-6)


def test_draws_of_the_papers_distances():
    embeddings = [value[0] for value in patches(24, 16, 1)]
    expected = [background.frechet([embeddings[i] for i in draw]) for draw in DRAWS]
    np.testing.assert_allclose(background.frechet_of_draws(embeddings, DRAWS), expected, rtol=1e-6, atol=1e-6)
    padded = patches(24, 8, 4)
    for value in padded[::5]:
        value[-1, 1] = np.nan
    padded = [value for value in padded if not np.isnan(value[0, 1, 0])]
    draws = DRAWS % len(padded)
    expected = [fad.frechet_of_patches([padded[i] for i in draw]) for draw in draws]
    np.testing.assert_allclose(fad.frechet_of_patch_draws(padded, draws), expected, rtol=1e-6, atol=1e-6)


def test_too_few_rows():
    (figure,) = (figure for figure in Tagger.figures if figure.name == "fad_infinity")
    few = patches(5, 4, 2)
    assert np.isnan(figure.draws(few, np.zeros((2, 5), int))).all()


def test_intervals_use_them():
    (figure,) = (figure for figure in Tagger.figures if figure.name == "fad")
    values = patches(24, 8, 3)
    quick = bootstrap.estimate(values, figure)
    plain = bootstrap.estimate(values, type(figure)(**{**vars(figure), "draws": None}))
    np.testing.assert_allclose(
        [quick.value, quick.low, quick.high], [plain.value, plain.low, plain.high], rtol=1e-6
    )
    assert quick.low < quick.value < quick.high
