"""The one table from logical axis names to mesh axes.

Modules name the axes of their parameters (`nn.with_logical_partitioning`) and of their main
activations (`constrain`); only this table knows which mesh axis a name lands on. Source: our choice,
in the manner of Flax's logical partitioning.
"""

import math

import flax.linen as nn
import jax
from flax.linen.spmd import RulesFallback

# name -> mesh axis (or axes, or None for replicated)
RULES: tuple[tuple[str, str | tuple[str, ...] | None], ...] = (
    # Activations.
    ("batch", ("data", "fsdp")),
    ("length", "sequence"),
    ("lookup_batch", "data"),  # rows looked up in a large table, before they go to where their clips are
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
    ("patch", None),  # pixels of a patch, bins of a spectrum: sizes that no mesh divides
)


def mesh_axes(name: str) -> tuple[str, ...]:
    """The mesh axes that a logical name lands on."""
    axes = dict(RULES)[name]
    return (axes,) if isinstance(axes, str) else axes or ()


def num_shares(name: str) -> int:
    """Into how many shares the mesh in use cuts an axis of that logical name; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else math.prod(mesh.shape[axis] for axis in mesh_axes(name))


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Constrains the sharding of an activation by logical axis names, one a dimension.

    Raises:
        ValueError: a name is not in `RULES` (a misspelt name would replicate silently).
    """
    return nn.with_logical_constraint(x, names, fallback=RulesFallback.RAISE_ERROR)
