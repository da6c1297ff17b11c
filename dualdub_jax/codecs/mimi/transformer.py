"""The transformers of Mimi: causal attention over a sliding window, with rotary positions and layer scales.

| module | kernel | output |
|---|---|---|
| `norm_attention`, `query`, `key`, `value`, `out`, `scale_attention` | [D, N * H] × 4, [D] | float[B, T, D] |
| `norm_mlp`, `up`, GELU, `down`, `scale_mlp` | [D, M], [M, D], [D] | float[B, T, D] |

With the collection "stream" mutable, keys and values of the last window continue from call to call.
Source: Défossez et al. (2024).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from dualdub_jax.codecs.mimi.config import MimiConfig
from dualdub_jax.layers.causal_conv1d import STREAM


def _dense(features: int, name: str, axes: tuple[str, str]) -> nn.Dense:
    init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), axes)
    return nn.Dense(features, use_bias=False, kernel_init=init, name=name)


def _norm(name: str, epsilon: float) -> nn.LayerNorm:
    init = nn.initializers
    return nn.LayerNorm(
        epsilon=epsilon,
        scale_init=nn.with_logical_partitioning(init.ones_init(), ("norm",)),
        bias_init=nn.with_logical_partitioning(init.zeros_init(), ("norm",)),
        name=name,
    )


def rotate(x: jax.Array, positions: jax.Array, theta: float) -> jax.Array:
    """Rotary positions: float[B, T, N, H] at int32[T]; the halves of H are the parts of complex numbers."""
    half = x.shape[-1] // 2
    angles = positions[:, None].astype(jnp.float32) * theta ** (-jnp.arange(half) / half)
    cos, sin = (f(angles)[:, None].astype(x.dtype) for f in (jnp.cos, jnp.sin))
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class MimiBlock(nn.Module):
    """One layer; the table above has the shapes."""

    config: MimiConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float[B, T, D] -> float[B, T, D]."""
        config, epsilon = self.config, self.config.norm_epsilon
        x = x + self._scale("scale_attention") * self._attend(_norm("norm_attention", epsilon)(x))
        h = _dense(config.mlp_width, "up", ("embed", "mlp"))(_norm("norm_mlp", epsilon)(x))
        h = _dense(config.width, "down", ("mlp", "embed"))(nn.gelu(h, approximate=False))
        return x + self._scale("scale_mlp") * h

    def _scale(self, name: str) -> jax.Array:
        init = nn.with_logical_partitioning(nn.initializers.constant(0.01), ("norm",))
        return self.param(name, init, (self.config.width,))

    def _attend(self, h: jax.Array) -> jax.Array:
        config, num_past = self.config, self.config.window - 1
        query, key, value = (
            rearrange(
                _dense(heads * config.head_dim, name, ("embed", "heads"))(h), "b t (n h) -> b t n h", n=heads
            )
            for name, heads in (
                ("query", config.num_heads), ("key", config.num_kv_heads), ("value", config.num_kv_heads)
            )
        )  # fmt: skip
        start, num_new = 0, h.shape[1]
        if self.is_mutable_collection(STREAM):
            position = self.variable(STREAM, "position", lambda: jnp.int32(0))
            start, position.value = position.value, position.value + num_new
        positions = start + jnp.arange(num_new)
        query, key = (rotate(x, positions, config.rope_theta) for x in (query, key))
        key_positions = positions
        if self.is_mutable_collection(STREAM):
            key_positions = start - num_past + jnp.arange(num_past + num_new)
            key, value = (
                self._continued(name, x, num_past) for name, x in (("keys", key), ("values", value))
            )
        distance = positions[:, None] - key_positions[None]
        mask = (distance >= 0) & (distance < config.window) & (key_positions >= 0)[None]
        attended = jax.nn.dot_product_attention(query, key, value, mask=mask[None, None])
        return _dense(config.width, "out", ("heads", "embed"))(rearrange(attended, "b t n h -> b t (n h)"))

    def _continued(self, name: str, x: jax.Array, num_past: int) -> jax.Array:
        past = self.variable(STREAM, name, lambda: jnp.zeros((len(x), num_past, *x.shape[2:]), x.dtype))
        joined = jnp.concatenate([past.value, x], axis=1)
        past.value = joined[:, joined.shape[1] - num_past :]
        return joined


class MimiTransformer(nn.Module):
    """All layers; no norm after the last one."""

    config: MimiConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float[B, T, D] -> float[B, T, D]."""
        for i in range(self.config.num_layers):
            x = MimiBlock(self.config, name=f"block_{i}")(x)
        return x
