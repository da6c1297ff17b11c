import functools

import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.mel_rvq import rvq


def _clusters(num_clusters: int, num_vectors: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    centres = 10.0 * generator.standard_normal((num_clusters, 4))
    choice = generator.integers(0, num_clusters, num_vectors)
    return (centres[choice] + 0.01 * generator.standard_normal((num_vectors, 4))).astype(np.float32), choice


def test_quantize_and_dequantize_agree_and_residuals_shrink():
    x = np.random.default_rng(0).standard_normal((2, 500, 4)).astype(np.float32)
    state = rvq.start(rvq.init_rvq(3, 64, 4), x.reshape(-1, 4), jax.random.key(0), np.ones((3, 4)))
    codes, quantised = rvq.quantize(x, state.codebooks)
    assert codes.dtype == jnp.int32 and codes.shape == (2, 500, 3)
    np.testing.assert_allclose(rvq.dequantize(codes, state.codebooks), quantised, atol=1e-5)
    errors = [float(jnp.mean((x - rvq.quantize(x, state.codebooks[:q])[1]) ** 2)) for q in (1, 2, 3)]
    assert errors[0] > 1.5 * errors[1] > 1.5 * 1.5 * errors[2]


def test_kmeans_finds_clusters():
    x, choice = _clusters(8, 2000)
    state = rvq.start(rvq.init_rvq(1, 32, 4), x, jax.random.key(1), np.ones((1, 4)), num_iterations=20)
    codes = np.asarray(rvq.quantize(x, state.codebooks)[0])[:, 0]
    assert all(len(set(choice[codes == code])) == 1 for code in set(codes))


def test_update_moves_entries_to_the_mean_of_their_vectors():
    x = np.random.default_rng(0).standard_normal((4096, 4)).astype(np.float32)
    state = rvq.start(rvq.init_rvq(1, 16, 4), x, jax.random.key(0), np.ones((1, 4)), num_iterations=1)
    before = float(jnp.mean((x - rvq.quantize(x, state.codebooks)[1]) ** 2))
    update = jax.jit(functools.partial(rvq.update, decay=0.7))
    for i in range(60):
        state, _, _ = update(state, x, jax.random.key(i), np.ones((1, 4)))
    codes = np.asarray(rvq.quantize(x, state.codebooks)[0])[:, 0]
    means = np.stack([x[codes == k].mean(axis=0) for k in range(16)])
    np.testing.assert_allclose(state.codebooks[0], means, atol=0.05)
    assert float(jnp.mean((x - rvq.quantize(x, state.codebooks)[1]) ** 2)) < before


def test_dead_entries_are_restarted_on_vectors_of_the_batch():
    x = np.random.default_rng(0).standard_normal((256, 4)).astype(np.float32)
    state = rvq.start(rvq.init_rvq(1, 8, 4), x, jax.random.key(0), np.ones((1, 4)))
    far = state.codebooks.at[0, 3].set(1e3)
    state = state.replace(codebooks=far, sums=far * state.counts[..., None])
    update = jax.jit(functools.partial(rvq.update, decay=0.9))
    for i in range(300):
        state, _, _ = update(state, x, jax.random.key(i), np.ones((1, 4)))
    assert float(jnp.max(jnp.abs(state.codebooks))) < 10.0
    assert np.all(np.bincount(np.asarray(rvq.quantize(x, state.codebooks)[0])[:, 0], minlength=8) > 0)


def test_statistics_of_two_half_batches_add_up():
    x, _ = _clusters(8, 512)
    state = rvq.start(rvq.init_rvq(2, 8, 4), x, jax.random.key(0), np.ones((2, 4)))
    whole, _, _ = rvq.update(state, x, jax.random.key(1), np.ones((2, 4)), decay=0.0)
    halves = [
        rvq.update(state, half, jax.random.key(1), np.ones((2, 4)), decay=0.0)[0]
        for half in (x[:256], x[256:])
    ]
    np.testing.assert_allclose(whole.counts[0], halves[0].counts[0] + halves[1].counts[0], atol=1e-3)


def test_perplexity_counts_the_entries_in_use():
    assert abs(float(rvq.perplexity(jnp.array([1.0, 1.0, 1.0, 0.0]))) - 3.0) < 1e-3


def test_a_codebook_that_is_about_some_dimensions_looks_at_no_others():
    """The first codebook sees the first two dimensions; a change of the others changes no code of it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 4)).astype(np.float32) * np.array([1.0, 1.0, 10.0, 10.0], np.float32)
    dims = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    state = rvq.start(rvq.init_rvq(2, 64, 4), x, jax.random.key(0), dims)
    for i in range(20):
        state, codes, quantised = rvq.update(state, x, jax.random.key(i), dims, decay=0.9)
    assert not np.asarray(state.codebooks[0, :, 2:]).any()
    assert np.asarray(state.codebooks[1, :, 2:]).any()
    codes, quantised = rvq.quantize(x, state.codebooks)
    moved = x + np.array([0.0, 0.0, 3.0, -5.0], np.float32)
    np.testing.assert_array_equal(rvq.quantize(moved, state.codebooks)[0][:, 0], codes[:, 0])
    left = x - np.asarray(state.codebooks[0])[np.asarray(codes[:, 0])]
    assert np.mean(left[:, :2] ** 2) < 0.1 * np.mean(x[:, :2] ** 2)
    assert np.mean((x - quantised) ** 2) < 0.2 * np.mean(x**2)
