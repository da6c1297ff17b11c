"""Cache of the keys and values of an attention, in the layout in which a decoding step reads it.

XLA's CPU backend transposes, or copies, the whole cache in every step unless heads precede positions, as in
the products of attention, and no axis has the size 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Float, Int

from dualdub_jax.types import Array


class KVCache(NamedTuple):
    """Keys and values of the positions decoded so far; unwritten slots are zero.

    Attributes:
        keys: float[B, K, S, H], without the axes of examples and heads that have the size 1.
        values: likewise.
    """

    keys: jax.Array
    values: jax.Array


def empty_cache(batch_size: int, num_heads: int, length: int, head_dim: int, dtype: str) -> KVCache:
    """A cache of `length` slots."""
    leading = (size for size in (batch_size, num_heads) if size > 1)
    zeros = jnp.zeros((*leading, length, head_dim), dtype)
    return KVCache(zeros, zeros)


def filled(keys: Float[Array, "B S K H"], values: Float[Array, "B S K H"]) -> KVCache:
    """A cache of these keys and values and no further slots."""
    keys, values = (rearrange(x, "B S K H -> B K S H") for x in (keys, values))
    ones = tuple(axis for axis in (0, 1) if keys.shape[axis] == 1)
    return KVCache(keys.squeeze(ones), values.squeeze(ones))


def write(
    cache: KVCache,
    keys: Float[Array, "B T K H"],
    values: Float[Array, "B T K H"],
    index: Int[Array, ""] | int,
) -> KVCache:
    """Writes float[B, T, K, H] to the slots `index` and following."""
    return KVCache(
        *(
            jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), index, axis=old.ndim - 2)
            for old, new in zip(cache, filled(keys, values), strict=True)
        )
    )


def read(cache: KVCache, num_heads: int) -> tuple[Float[Array, "B S K H"], Float[Array, "B S K H"]]:
    """Keys and values of all slots."""
    keys, values = (x.reshape(-1, num_heads, *x.shape[-2:]) for x in cache)
    return rearrange(keys, "B K S H -> B S K H"), rearrange(values, "B K S H -> B S K H")
