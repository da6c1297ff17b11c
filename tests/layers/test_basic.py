"""The layers' own backward passes against automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from dualdub_jax.layers.basic import matrix_product, normalize, rms_norm
from dualdub_jax.parallel.mesh import AXES


def _normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def _gradients(function, *arguments):
    """Of a sum with uneven weights, by each argument."""
    out = jax.eval_shape(function, *arguments)
    weights = _normal(9, *out.shape)
    return jax.grad(lambda *args: jnp.sum(weights * function(*args)), argnums=tuple(range(len(arguments))))(
        *arguments
    )


@pytest.mark.parametrize("rows", [(5,), (2, 3), (2, 3, 4)], ids=str)
def test_matrix_product_and_its_gradients_are_those_of_matmul(rows):
    x, kernel = _normal(0, *rows, 7), _normal(1, 7, 6)
    np.testing.assert_array_equal(matrix_product(x, kernel), x @ kernel)
    for ours, automatic in zip(
        _gradients(matrix_product, x, kernel), _gradients(jnp.matmul, x, kernel), strict=True
    ):
        np.testing.assert_allclose(ours, automatic, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "folds"), [("tpu", False), ("cpu", True)])
def test_films_are_not_laid_out_anew_on_a_tpu(kind, folds):
    """With such copies base did not fit a v5e (`dualdub aot`); docs/performance.md has why the CPU folds."""
    device = AbstractDevice(device_kind="absent", num_cores=1, platform=kind)
    mesh = AbstractMesh((1,) * len(AXES), AXES, (AxisType.Auto,) * len(AXES), abstract_device=device)
    arrays = jax.ShapeDtypeStruct((4, 8, 16, 32), jnp.float32), jax.ShapeDtypeStruct((32, 8), jnp.float32)
    with jax.sharding.use_abstract_mesh(mesh):
        gradient = jax.grad(lambda x, kernel: jnp.sum(matrix_product(x, kernel)), argnums=1)
        text = jax.jit(gradient).trace(*arrays).lower(lowering_platforms=(kind,)).as_text()
    assert ("stablehlo.reshape" in text) == folds


def test_matrix_product_maps_over_kernels():
    x, kernels = _normal(0, 3, 5, 7), _normal(1, 3, 7, 6)
    mapped = jax.vmap(matrix_product)
    np.testing.assert_allclose(mapped(x, kernels), x @ kernels, rtol=1e-5, atol=1e-5)
    for ours, automatic in zip(
        _gradients(mapped, x, kernels), _gradients(jnp.matmul, x, kernels), strict=True
    ):
        np.testing.assert_allclose(ours, automatic, rtol=1e-5, atol=1e-5)


def test_gradients_keep_the_dtype_of_what_they_are_of():
    x, kernel = _normal(0, 5, 7).astype(jnp.bfloat16), _normal(1, 7, 6).astype(jnp.bfloat16)
    assert [g.dtype for g in _gradients(matrix_product, x, kernel)] == [jnp.bfloat16] * 2


@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
def test_normalize_and_its_gradients_are_those_of_the_formula(epsilon):
    def formula(x, scale):
        return scale * x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + epsilon)

    def ours(x, scale):
        return normalize(x, scale, epsilon)

    x, scale = 3.0 * _normal(0, 2, 5, 8), 1.0 + 0.3 * _normal(1, 8)
    np.testing.assert_allclose(ours(x, scale), formula(x, scale), rtol=1e-5, atol=1e-6)
    for own, automatic in zip(_gradients(ours, x, scale), _gradients(formula, x, scale), strict=True):
        np.testing.assert_allclose(own, automatic, rtol=1e-4, atol=1e-5)


def test_normalize_of_zeros_is_finite():
    dx, dscale = _gradients(normalize, jnp.zeros((2, 8)), jnp.ones(8))
    assert np.isfinite(dx).all() and not np.asarray(dscale).any()


def test_rms_norm_computes_in_float32_whatever_its_dtype():
    x = 100.0 * _normal(0, 4, 64)
    params = rms_norm("norm", "bfloat16").init(jax.random.key(0), x)
    low = rms_norm("norm", "bfloat16").apply(params, x.astype(jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    high = rms_norm("norm", "float32").apply(params, x.astype(jnp.bfloat16))
    np.testing.assert_array_equal(low, high.astype(jnp.bfloat16))
