"""Initial values of some parameters of a phase; the others are initialised at random."""

from typing import Any

import flax.linen as nn
from flax import traverse_util

PyTree = Any  # nested dictionaries of arrays; leaves may be boxed


def with_values(boxed: PyTree, values: PyTree) -> PyTree:
    """Replaces some arrays of a tree; boxes keep their logical axis names.

    Args:
        boxed: nested dictionaries, leaves boxed by `nn.with_logical_partitioning` or not.
        values: arrays, a part of the same tree; None: none.
    """
    flat = traverse_util.flatten_dict(boxed)
    for path, value in traverse_util.flatten_dict(values or {}).items():
        flat[path] = nn.meta.replace_boxed(flat[path], value)
    return traverse_util.unflatten_dict(flat)
