"""The few layers that every part of the model is made of, with their logical axis names."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from dualdub_jax.parallel.sharding import constrain

_EMBEDDING_INIT = nn.initializers.normal(0.02)


def dense(
    features: int, axes: Sequence[str], *, name: str, dtype: str, use_bias: bool = False, scale: float = 1.0
) -> nn.Dense:
    """A matrix product whose kernel carries the logical axis names `axes` (input, output).

    Kernels stay two-dimensional, also where the output is split into heads afterwards: XLA's CPU
    backend is slower on head-shaped kernels and the sharding is the same.
    """
    init = nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal")
    return nn.Dense(
        features,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=nn.with_logical_partitioning(init, tuple(axes)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, (axes[-1],)),
        name=name,
    )


def rms_norm(name: str, dtype: str) -> nn.RMSNorm:
    """RMSNorm over the last axis, computed in float32."""
    return nn.RMSNorm(
        dtype=dtype,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones, ("norm",)),
        name=name,
    )


def learned(module: nn.Module, name: str, shape: Sequence[int], axes: Sequence[str]) -> jax.Array:
    """A learned array of `module`: null vectors, queries, embedding tables."""
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
        hidden = constrain(nn.silu(gate) * up, "batch", "length", "act_mlp")
        return dense(x.shape[-1], ("mlp", "embed"), name="down", dtype=self.dtype)(hidden)
