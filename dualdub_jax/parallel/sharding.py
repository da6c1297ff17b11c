"""The table of logical axis names and mesh axes.

Modules name the axes of their parameters (`nn.with_logical_partitioning`) and of their main activations
(`constrain`); this table alone maps names to mesh axes. Source: Flax's logical partitioning; the names are
our choice.
"""

import math
from typing import Any

import flax.linen as nn
import jax
from flax.linen.spmd import RulesFallback

# name -> mesh axis (or axes, or None for replicated)
RULES: tuple[tuple[str, str | tuple[str, ...] | None], ...] = (
    # Activations.
    ("batch", ("data", "fsdp")),
    ("length", "sequence"),
    ("lookup_batch", "data"),  # rows gathered from a large table, before they are resharded to "batch"
    ("act_embed", None),
    ("act_heads", "tensor"),
    ("act_mlp", "tensor"),
    ("act_vocab", "tensor"),
    # Parameters.
    ("embed", "fsdp"),
    ("heads", "tensor"),
    ("kv_heads", "tensor"),
    ("head_dim", None),
    ("mlp", "tensor"),
    ("vocab", "tensor"),
    ("norm", None),
    ("layers", None),
    ("codebooks", None),
    ("positions", None),
    ("kernel", None),  # taps of a convolution
    ("patch", None),  # pixels of a patch, bins of a spectrum: in general not divisible by a mesh axis
)


def mesh_axes(name: str) -> tuple[str, ...]:
    """The mesh axes of a logical name; empty: replicated. Inside of `jax.shard_map`, without its axes."""
    axes = dict(RULES)[name]
    manual = jax.sharding.get_abstract_mesh().manual_axes
    return tuple(a for a in ((axes,) if isinstance(axes, str) else axes or ()) if a not in manual)


def num_shares(name: str) -> int:
    """Number of shards of an axis of that logical name on the mesh in use; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else math.prod(mesh.shape[axis] for axis in mesh_axes(name))


UNCONSTRAINED = jax.sharding.PartitionSpec.UNCONSTRAINED  # in place of a name: left to the compiler


def constrain(x: jax.Array, *names: Any) -> jax.Array:
    """Constrains the sharding of an activation.

    Args:
        x: the activation.
        names: a logical axis name per dimension; None: replicated; or `UNCONSTRAINED`.

    Raises:
        ValueError: a name is not in `RULES` (otherwise a misspelt name would replicate silently).
    """
    return nn.with_logical_constraint(x, names, fallback=RulesFallback.RAISE_ERROR)
