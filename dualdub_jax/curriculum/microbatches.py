"""A batch in microbatches, one after the other, which limits activation memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange

from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.types import Batch

PyTree = Any  # gradients and metrics, or sums: trees of arrays


def sum_over_parts(function: Callable[[Batch], PyTree], batch: Batch, num_parts: int) -> PyTree:
    """Adds up a function of microbatches, one after the other.

    Args:
        function: a tree of arrays, additive over examples.
        batch: the whole batch.
        num_parts: number of microbatches; 1: `function(batch)`.
    """
    if num_parts == 1:
        return function(batch)
    # Microbatch a takes every num_parts-th example, so that no example moves between devices.
    parts = jax.tree.map(
        lambda x: constrain(
            rearrange(x, "(B A) ... -> A B ...", A=num_parts), None, "batch", *(x.ndim - 1) * [None]
        ),
        batch,
    )

    def add(total: PyTree, part: Batch) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, function(part)), None

    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, parts)[0]
