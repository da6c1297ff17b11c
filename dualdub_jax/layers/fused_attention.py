"""Dispatch of attention: a fused kernel on TPU and GPU, plain operations elsewhere.

| platform | kernel | supports |
|---|---|---|
| tpu | `tpu_attention` (Pallas, in this project) | lengths in multiples of 128, at most 2048 keys |
| cuda | cuDNN's, by `jax.nn.dot_product_attention` | bfloat16 or float16, even lengths, heads of 8 to 128 |
| others | none | |

`model.attention_implementation` applies to the backbone and the temporal stack of the video encoder: "plain"
never uses a kernel, "auto" uses one if it supports the shapes (and logs once otherwise), "fused" raises an
error without one. Generation steps (a single query) and the aligner and speaker encoder (few small layers,
one with a learned bias) always run plain.
"""

import functools
import logging

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from dualdub_jax.errors import UserError
from dualdub_jax.layers.tpu_attention import LANES, MAX_KEYS, tpu_attention
from dualdub_jax.parallel.sharding import mesh_axes, num_shares

IMPLEMENTATIONS = ("auto", "plain", "fused")

_log = logging.getLogger(__name__)


def use_fused(implementation: str, queries: jax.Array, keys: jax.Array) -> bool:
    """Whether to use `fused_attention`; decided at trace time by the platform of the mesh in use.

    Args:
        implementation: of `IMPLEMENTATIONS`.
        queries: float[B, T, N, H].
        keys: float[B, S, K, H].

    Raises:
        UserError: an unknown implementation, or "fused" without a kernel for these shapes.
    """
    if implementation not in IMPLEMENTATIONS:
        raise UserError(
            f"model.attention_implementation={implementation}: choose one of {', '.join(IMPLEMENTATIONS)}"
        )
    if implementation == "plain":
        return False
    obstacle = _obstacle(queries, keys)
    if obstacle is None:
        return True
    if implementation == "fused":
        raise UserError(
            f"model.attention_implementation=fused: {obstacle}; choose another size or mesh, or "
            "model.attention_implementation=auto"
        )
    if platform() in _KERNELS:
        _log_once(obstacle)
    return False


def fused_attention(queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    """`dot_product_attention` without bias, by the platform's kernel.

    Args:
        queries: float[B, T, N, H].
        keys, values: float[B, S, K, H], K divides N.
        mask: bool[B or 1, T, S], True where a query attends.

    Returns:
        float[B, T, N, H]; zeros for a fully masked query.
    """
    return _KERNELS[platform()](queries, keys, values, mask)


def platform() -> str:
    """JAX's name of the platform of the mesh in use, or of the default backend without a mesh."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    name = jax.default_backend() if device is None else device.platform
    return "cuda" if name == "gpu" else name


def _on_tpu(queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return tpu_attention(queries, keys, values, mask)
    batch, length, heads = mesh_axes("batch"), mesh_axes("length"), mesh_axes("act_heads")
    # The compiler cannot partition a kernel. Each device computes its clips, heads and queries; keys and
    # values are all-gathered along a sharded length.
    kernel = jax.shard_map(
        tpu_attention,
        in_specs=(
            PartitionSpec(batch, length, heads),
            PartitionSpec(batch, None, heads),
            PartitionSpec(batch, None, heads),
            PartitionSpec(batch if mask.shape[0] > 1 else None, length),
        ),
        out_specs=PartitionSpec(batch, length, heads),
        check_vma=False,
    )
    return kernel(queries, keys, values, mask)


def _on_cuda(queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    out = jax.nn.dot_product_attention(queries, keys, values, mask=mask[:, None], implementation="cudnn")
    return jnp.where(mask.any(axis=-1)[:, :, None, None], out, 0)


_KERNELS = {"tpu": _on_tpu, "cuda": _on_cuda}


def _obstacle(queries: jax.Array, keys: jax.Array) -> str | None:
    """Why no kernel supports these shapes on the mesh in use; None if one does."""
    kind = platform()
    if kind not in _KERNELS:
        return f"there is no kernel for the platform {kind}"
    batch_size, num_queries, _, head_dim = queries.shape
    num_keys, num_groups = keys.shape[1:3]
    for name, size in (("batch", batch_size), ("act_heads", num_groups), ("length", num_queries)):
        if size % num_shares(name):
            return f"{size} along {name!r} cannot be split over {num_shares(name)} devices"
    if kind == "tpu":
        num_queries //= num_shares("length")
        if num_queries % LANES or num_keys % LANES or num_keys > MAX_KEYS:
            return (
                f"{num_queries} queries a device and {num_keys} keys; the TPU kernel supports multiples of "
                f"{LANES}, and at most {MAX_KEYS} keys"
            )
        return None
    if num_shares("length") > 1:
        return "cuDNN's kernel does not run on a mesh with sequence > 1"
    if queries.dtype not in (jnp.bfloat16, jnp.float16):
        return f"cuDNN's kernel supports bfloat16 or float16, not {queries.dtype} (model.compute_dtype)"
    if head_dim % 8 or head_dim > 128 or num_queries % 2 or num_keys % 2:
        return (
            f"{num_queries} queries, {num_keys} keys, heads of {head_dim}; cuDNN's kernel supports even "
            "lengths, and heads in multiples of 8 up to 128"
        )
    return None


@functools.cache
def _log_once(obstacle: str) -> None:
    _log.warning("attention runs plain: %s", obstacle)
