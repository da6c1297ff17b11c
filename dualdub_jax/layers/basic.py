"""Elementary layers with logical axis names: linear, RMSNorm, SwiGLU, learned arrays."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.ad_checkpoint import checkpoint_name

from dualdub_jax.layers.fused_attention import platform
from dualdub_jax.parallel.sharding import UNCONSTRAINED, constrain, num_shares

_EMBEDDING_INIT = nn.initializers.normal(0.02)
_EPSILON = 1e-6  # of RMSNorm, by default


# Input axis of a kernel -> axis of the activation that it multiplies; others are replicated.
_ACTIVATION_AXES = {"heads": "act_heads", "kv_heads": "act_heads", "mlp": "act_mlp"}


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matrix_product(x: jax.Array, kernel: jax.Array, axis: str = "embed") -> jax.Array:
    """`x @ kernel`, float[..., I] and float[I, O] -> float[..., O].

    The kernel's gradient is computed as `x^T dy`, in the kernel's layout. Automatic differentiation gives
    `(dy^T x)^T`, for which XLA's CPU backend materialises a transpose of `dy`.

    Args:
        x: float[B, T, ..., I], or float[..., I] of fewer axes.
        kernel: float[I, O].
        axis: logical name of the kernel's input.
    """
    return jnp.matmul(x, kernel)


def _matrix_product_forward(x, kernel, axis):
    return matrix_product(x, kernel, axis), (x, kernel)


def _matrix_product_backward(axis, saved, dy):
    x, kernel = saved
    dx = jax.lax.dot_general(dy, kernel, (((dy.ndim - 1,), (1,)), ((), ())))
    if x.ndim > 2:
        # Without these constraints, the compiler computes wrong gradients for some lengths on meshes of
        # several axes (tests/multidevice/test_buckets.py).
        inner = (UNCONSTRAINED,) * (x.ndim - 3)
        dx = constrain(dx, "batch", "length", *inner, _ACTIVATION_AXES.get(axis))
        x, dy = (constrain(a, "batch", "length", *inner, UNCONSTRAINED) for a in (x, dy))
    if num_shares("length") == 1 and (x.ndim == 3 or platform() == "cpu"):
        # With several row axes, the same backend materialises a transpose of x. Folding a sharded length into
        # the batch would require communication, and on TPU folding further axes relays out gigabytes.
        x, dy = rearrange(x, "... I -> (...) I"), rearrange(dy, "... O -> (...) O")
    rows = tuple(range(x.ndim - 1))
    return dx, jax.lax.dot_general(x, dy, ((rows, rows), ((), ())))


matrix_product.defvjp(_matrix_product_forward, _matrix_product_backward)


def _dense_product(axis: str, x: jax.Array, kernel: jax.Array, *unused: Any, **also_unused: Any) -> jax.Array:
    """`matrix_product` with the signature of `dot_general`; dimension numbers and precision are ignored."""
    return matrix_product(x, kernel, axis)


def dense(
    features: int, axes: Sequence[str], *, name: str, dtype: str, use_bias: bool = False, scale: float = 1.0
) -> nn.Dense:
    """A linear layer whose kernel has the logical axis names `axes` (input, output).

    Kernels are two-dimensional, also if the output is split into heads: XLA's CPU backend is slower on
    head-shaped kernels, and the sharding is the same.
    """
    init = nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal")
    return nn.Dense(
        features,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=nn.with_logical_partitioning(init, tuple(axes)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, (axes[-1],)),
        dot_general=functools.partial(_dense_product, axes[0]),
        name=name,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def normalize(x: jax.Array, scale: jax.Array, epsilon: float = _EPSILON) -> jax.Array:
    """`x / rms(x) * scale` over the last axis, float32[..., D] and float32[D] -> float32[..., D].

    `epsilon` is added to the mean square. The backward pass saves `x` and one number per row; automatic
    differentiation saves three arrays of its size.
    """
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon) * scale


def _normalize_forward(x, scale, epsilon):
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon)
    return x * inverse * scale, (x, inverse, scale)


def _normalize_backward(epsilon, saved, dy):
    x, inverse, scale = saved
    normed, dy_scaled = x * inverse, dy * scale
    dx = inverse * (dy_scaled - normed * jnp.mean(dy_scaled * normed, axis=-1, keepdims=True))
    return dx, jnp.sum(dy * normed, axis=tuple(range(x.ndim - 1)))


normalize.defvjp(_normalize_forward, _normalize_backward)


class RMSNorm(nn.Module):
    """RMSNorm over the last axis, computed in float32 (Zhang and Sennrich, 2019)."""

    dtype: str = "float32"
    epsilon: float = _EPSILON

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.with_logical_partitioning(nn.initializers.ones, ("norm",))
        scale = self.param("scale", init, (x.shape[-1],), jnp.float32)
        return normalize(x.astype(jnp.float32), scale, self.epsilon).astype(self.dtype)


def rms_norm(name: str, dtype: str, epsilon: float = _EPSILON) -> RMSNorm:
    """RMSNorm over the last axis, computed in float32."""
    return RMSNorm(dtype, epsilon, name=name)


def learned(module: nn.Module, name: str, shape: Sequence[int], axes: Sequence[str]) -> jax.Array:
    """A learned float32 array of `module`: a null vector, a query, an embedding table."""
    init = nn.with_logical_partitioning(_EMBEDDING_INIT, tuple(axes))
    return module.param(name, init, tuple(shape), jnp.float32)


class SwiGLU(nn.Module):
    """The gated feed-forward of Llama: `down(silu(gate(x)) * up(x))`, float[B, T, D] -> float[B, T, D]."""

    width: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gate = dense(self.width, ("embed", "mlp"), name="gate", dtype=self.dtype)(x)
        up = dense(self.width, ("embed", "mlp"), name="up", dtype=self.dtype)(x)
        gate, up = checkpoint_name(gate, "mlp"), checkpoint_name(up, "mlp")
        hidden = constrain(_gated(gate, up), "batch", "length", "act_mlp")
        out = dense(x.shape[-1], ("mlp", "embed"), name="down", dtype=self.dtype)(hidden)
        return constrain(out, "batch", "length", "act_embed")  # see `attention.Attention`


@functools.partial(jax.checkpoint, prevent_cse=False)  # not needed inside a scan
def _gated(gate: jax.Array, up: jax.Array) -> jax.Array:
    """The SwiGLU product; its backward pass saves both arguments and none of the five intermediates."""
    return nn.silu(gate) * up
