"""Which tokens a latent reads, against the definitions."""

from fractions import Fraction

import numpy as np
import pytest

from dualdub_jax.decoders.flow_matching.resampling import RESAMPLINGS, token_weights

# 40 Hz tokens and latents of Stable Audio 2 and 1; 25 Hz tokens and 50 Hz mels; 12.5 Hz tokens.
RATIOS = [
    *(Fraction(40 * samples, 44_100) for samples in (2048, 1024)),
    *(Fraction(1, 2), Fraction(25 * 441, 2 * 44_100)),
]


@pytest.mark.parametrize("ratio", RATIOS)
def test_nearest_is_the_papers(ratio):
    num_tokens = 12 * ratio.numerator
    num_latents = int(num_tokens / ratio)
    index, weights = token_weights(np.arange(num_latents), ratio, "nearest")
    wanted = [i * num_tokens // num_latents for i in range(num_latents)]
    assert index[:, 0].tolist() == wanted and weights.shape == index.shape and (weights == 1).all()


@pytest.mark.parametrize("ratio", RATIOS)
def test_linear_interpolates_middles(ratio):
    latents = np.arange(50, 400)
    index, weights = token_weights(latents, ratio, "linear")
    middles = (index + 0.5) / float(ratio)  # a ramp of time is reproduced exactly
    np.testing.assert_allclose((middles * weights).sum(-1), latents + 0.5, rtol=1e-5)


@pytest.mark.parametrize("ratio", RATIOS)
def test_mean_weighs_by_time(ratio):
    latents = np.arange(70)
    index, weights = token_weights(latents, ratio, "mean")
    values = np.random.default_rng(0).normal(size=int(71 * ratio) + 3)
    fine = np.repeat(values, ratio.denominator)[: 70 * ratio.numerator]  # at the rate of both
    wanted = fine.reshape(70, -1).mean(1)
    np.testing.assert_allclose((values[index] * weights).sum(-1), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", RESAMPLINGS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_weights_sum_to_one_hours_into_a_track(kind, ratio):
    latents = np.arange(400_000, 400_050)
    index, weights = token_weights(latents, ratio, kind)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    assert (np.abs((index * weights).sum(-1) - latents * float(ratio)) <= 1 + float(ratio)).all()
