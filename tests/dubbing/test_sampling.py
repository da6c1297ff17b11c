"""Temperature and cuts do what their names say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.dubbing.sampling import StreamSampling, draw_noise, sample

# Probabilities .5, .3, .15, .05, in another order.
LOGITS = jnp.log(jnp.array([[0.15, 0.5, 0.05, 0.3]]))


def _draw(temperature=1.0, top_k=0, top_p=1.0, n=4000):
    how = StreamSampling(jnp.float32(temperature), jnp.int32(top_k), jnp.float32(top_p))
    (noise,) = draw_noise(jax.random.split(jax.random.key(0), 1), n, 4)
    codes = jax.jit(sample)(noise, jnp.repeat(LOGITS, n, 0), how)
    return np.bincount(np.asarray(codes), minlength=4) / n


def test_draws_follow_the_probabilities():
    np.testing.assert_allclose(_draw(), [0.15, 0.5, 0.05, 0.3], atol=0.03)


def test_temperature_sharpens_and_zero_is_greedy():
    squared = np.array([0.15, 0.5, 0.05, 0.3]) ** 2
    np.testing.assert_allclose(_draw(temperature=0.5), squared / squared.sum(), atol=0.03)
    np.testing.assert_array_equal(_draw(temperature=0.0), [0, 1, 0, 0])


@pytest.mark.parametrize(("top_k", "kept"), [(1, [1]), (2, [1, 3]), (3, [0, 1, 3]), (9, [0, 1, 2, 3])])
def test_top_k_keeps_the_k_likeliest(top_k, kept):
    np.testing.assert_array_equal(np.flatnonzero(_draw(top_k=top_k)), kept)


@pytest.mark.parametrize(("top_p", "kept"), [(0.01, [1]), (0.6, [1, 3]), (0.9, [0, 1, 3])])
def test_top_p_keeps_the_likeliest_until_their_mass_is_reached(top_p, kept):
    np.testing.assert_array_equal(np.flatnonzero(_draw(top_p=top_p)), kept)


def test_codebooks_have_noise_of_their_own_and_the_draws_of_jax():
    keys, logits = jax.random.split(jax.random.key(0), 3), jax.random.normal(jax.random.key(1), (50, 9))
    how = StreamSampling(jnp.float32(0.7), jnp.int32(0), jnp.float32(1.0))
    noise = draw_noise(keys, 50, 9)
    for key, of_codebook in zip(keys, noise, strict=True):
        expected = jax.random.categorical(key, logits / how.temperature)
        np.testing.assert_array_equal(sample(of_codebook, logits, how), expected)
    assert (noise[0] != noise[1]).mean() > 0.9
