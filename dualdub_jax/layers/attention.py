"""Grouped-query attention with rotary positions, an additive bias and a key-value cache."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Bool, Float, Int

from dualdub_jax.config import RopeScalingConfig
from dualdub_jax.errors import UserError
from dualdub_jax.layers.basic import dense, learned, rms_norm
from dualdub_jax.layers.fused_attention import fused_attention, use_fused
from dualdub_jax.layers.kv_cache import KVCache, read, write
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

ROPE_SCALINGS = ("none", "linear", "llama3")


def rotate(
    x: jax.Array, positions: jax.Array, theta: float, scaling: RopeScalingConfig | None = None
) -> jax.Array:
    """Rotary position embedding (Su et al., 2021) in Llama's half-split convention.

    Args:
        x: float[B, T, N, H], H even.
        positions: int32[T].
        theta: base of the wavelengths.
        scaling: of the wavelengths; None: none.

    Returns:
        float[B, T, N, H].
    """
    half = x.shape[-1] // 2
    frequencies = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if scaling is not None:
        frequencies = _scaled(frequencies, scaling)
    angles = positions[:, None].astype(jnp.float32) * frequencies  # [T, H/2]
    # Without the barrier, XLA recomputes them for each example and head.
    cos, sin = jax.lax.optimization_barrier((jnp.cos(angles)[:, None, :], jnp.sin(angles)[:, None, :]))
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


def _scaled(frequencies: jax.Array, scaling: RopeScalingConfig) -> jax.Array:
    """Frequencies of a model whose context was extended, radians per position.

    Source: position interpolation (Chen et al., 2023) for "linear"; Llama 3.1 for "llama3", which
    interpolates long wavelengths, keeps short ones, and blends between them.
    """
    if scaling.kind not in ROPE_SCALINGS:
        raise UserError(f"model.rope_scaling.kind={scaling.kind}: choose one of {', '.join(ROPE_SCALINGS)}")
    if scaling.kind == "none":
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    turns = scaling.original_length * frequencies / (2 * jnp.pi)  # within the original context
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    kept = jnp.clip((turns - low) / (high - low), 0, 1)
    return frequencies * (kept + (1 - kept) / scaling.factor)


@checked
def dot_product_attention(
    queries: Float[Array, "B T N H"],
    keys: Float[Array, "B S K H"],
    values: Float[Array, "B S K H"],
    mask: Bool[Array, "#B T S"],
    bias: Float[Array, "N T S"] | None = None,
) -> Float[Array, "B T N H"]:
    """Scaled dot-product attention with a float32 softmax, for any backend.

    Args:
        queries: float[B, T, N, H].
        keys, values: float[B, S, K, H], K divides N.
        mask: bool[B or 1, T, S], True where a query attends.
        bias: float[N, T, S], added to the scaled logits.

    Returns:
        float[B, T, N, H]; zeros for a fully masked query.
    """
    num_groups = keys.shape[2]
    q = rearrange(queries, "B T (K G) H -> B K (G T) H", K=num_groups)
    k = rearrange(keys, "B S K H -> B K S H")
    v = rearrange(values, "B S K H -> B K S H")
    logits = jnp.einsum("BKXH,BKSH->BKXS", q, k, preferred_element_type=jnp.float32)
    logits = rearrange(logits, "B K (G T) S -> B K G T S", T=queries.shape[1]) * queries.shape[-1] ** -0.5
    if bias is not None:
        logits += rearrange(bias, "(K G) T S -> K G T S", K=num_groups)
    logits = jnp.where(mask[:, None, None], logits, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(logits, axis=-1).astype(values.dtype)
    weights = rearrange(weights, "B K G T S -> B K (G T) S")
    out = jnp.einsum("BKXS,BKSH->BKXH", weights, v)
    out = rearrange(out, "B K (G T) H -> B T (K G) H", T=queries.shape[1])
    # The output is zeroed instead of the weights, which are the largest array.
    return jnp.where(mask.any(-1)[:, :, None, None], out, 0.0)


class RelativeTimeBias(nn.Module):
    """A learned bias by distance in frames: float[N, T, S] for T consecutive queries and keys 0..S-1.

    Distances are clipped at `max_distance`. Source: our choice.
    """

    num_heads: int
    max_distance: int

    @nn.compact
    def __call__(self, num_queries: int, num_keys: int, first_query: jax.Array | int = 0) -> jax.Array:
        table = learned(self, "table", (self.num_heads, 2 * self.max_distance + 1), ("heads", "positions"))
        distance = jnp.arange(num_keys)[None, :] - (first_query + jnp.arange(num_queries))[:, None]
        index = jnp.clip(distance, -self.max_distance, self.max_distance) + self.max_distance
        return table[:, index]


class Attention(nn.Module):
    """Attention with query, key, value and output projections.

    Attributes:
        num_heads: N.
        num_kv_heads: K, divides N.
        head_dim: H.
        rope_theta: base of the rotary positions; 0: no rotation.
        rope_scaling: of their wavelengths; None: none.
        use_qkv_bias: biases on queries, keys and values, as in Qwen2.
        use_qk_norm: RMSNorm on queries and keys per head, as in Qwen3.
        norm_epsilon: of these norms.
        implementation: "auto", "plain" or "fused"; see `fused_attention.py`.
        dtype: compute dtype.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float = 0.0
    use_qkv_bias: bool = False
    use_qk_norm: bool = False
    implementation: str = "plain"
    dtype: str = "float32"
    rope_scaling: RopeScalingConfig | None = None
    norm_epsilon: float = 1e-6

    @nn.compact
    @checked
    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "#B T S"],
        *,
        context: Float[Array, "B S_context D_context"] | None = None,
        positions: Int[Array, " T"] | None = None,
        bias: Float[Array, "N T S"] | None = None,
        cache: KVCache | None = None,
        cache_index: Int[Array, ""] | int | None = None,
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        """Attends from `x` to `context` (default: self-attention).

        Args:
            x: float[B, T, D].
            mask: bool[B or 1, T, S], True where a query attends; with a cache, S is the cache's length.
            context: float[B, S, D'].
            positions: int32[T], for the rotary embedding of queries and keys.
            bias: float[N, T, S].
            cache: previous keys and values; those of `x` are written at `cache_index`.
            cache_index: first slot to write.

        Returns:
            float[B, T, D] and the updated cache (None without one).
        """
        context = x if context is None else context
        q_width, kv_width = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        bias_flag = self.use_qkv_bias
        q = dense(q_width, ("embed", "heads"), name="query", dtype=self.dtype, use_bias=bias_flag)(x)
        k = dense(kv_width, ("embed", "kv_heads"), name="key", dtype=self.dtype, use_bias=bias_flag)(context)
        v = dense(kv_width, ("embed", "kv_heads"), name="value", dtype=self.dtype, use_bias=bias_flag)(
            context
        )
        q = rearrange(q, "B T (N H) -> B T N H", H=self.head_dim)
        k = rearrange(k, "B S (K H) -> B S K H", H=self.head_dim)
        v = rearrange(v, "B S (K H) -> B S K H", H=self.head_dim)
        if self.use_qk_norm:
            q = rms_norm("query_norm", self.dtype, self.norm_epsilon)(q)
            k = rms_norm("key_norm", self.dtype, self.norm_epsilon)(k)
        if self.rope_theta:
            q, k = (rotate(x, positions, self.rope_theta, self.rope_scaling) for x in (q, k))
        if cache is not None:
            cache = write(cache, k, v, cache_index)
            k, v = read(cache, self.num_kv_heads)
        q = constrain(q, "batch", "length", "act_heads", None)
        q, k, v = (checkpoint_name(x, "attention") for x in (q, k, v))
        can_fuse = bias is None and cache is None and not self.is_initializing()
        if can_fuse and use_fused(self.implementation, q, k):
            out = fused_attention(q, k, v, mask)
        else:
            out = dot_product_attention(q, k, v, mask, bias)
        out = checkpoint_name(rearrange(out, "B T N H -> B T (N H)"), "attention")
        out = dense(x.shape[-1], ("heads", "embed"), name="out", dtype=self.dtype)(out)
        # Without the constraint, the compiler computes wrong sums over heads for some lengths, on meshes of
        # which data, fsdp and tensor are all above 1 (tests/multidevice/test_buckets.py).
        return constrain(out, "batch", "length", "act_embed"), cache
