"""Public tensors onto the devices of a mesh, one at a time.

A process reads, of each tensor, the slices of its own devices, in the dtype of the file. Host memory holds
those of a single tensor; cast, transposition and stacking happen on the devices.
"""

import functools
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from dualdub_jax.convert.tensor_files import PublicTensor


def read_onto_mesh(
    tensors: Sequence[PublicTensor], target: jax.ShapeDtypeStruct, *, is_transposed: bool, is_stacked: bool
) -> jax.Array:
    """Reads an array.

    Args:
        tensors: of each layer, or a single one.
        target: shape, dtype and `NamedSharding` of the array.
        is_transposed: matrices are [out, in] in the file and [in, out] in the array.
        is_stacked: the array's first axis is that of the layers, which is not sharded.

    Returns:
        The array, on the devices of its sharding.
    """
    spec = [*target.sharding.spec, *[None] * (len(target.shape) - len(target.sharding.spec))]
    layer_spec = spec[1:] if is_stacked else spec
    if is_transposed:
        layer_spec = layer_spec[::-1]
    sharding = NamedSharding(target.sharding.mesh, PartitionSpec(*layer_spec))
    if not is_stacked:
        return _cast(_put(tensors[0], sharding), str(target.dtype), target.sharding, is_transposed)
    stack = _zeros(target.shape, str(target.dtype), target.sharding)
    for i, tensor in enumerate(tensors):
        stack = _with_layer(stack, _put(tensor, sharding), i, target.sharding, is_transposed)
        stack.block_until_ready()  # or several tensors would wait in memory
    return stack


def _put(tensor: PublicTensor, sharding: NamedSharding) -> jax.Array:
    """A tensor as it is in the file; slices that several devices hold are read once."""
    parts: dict[tuple[tuple[int | None, int | None], ...], np.ndarray] = {}

    def part(index: tuple[slice, ...]) -> np.ndarray:
        key = tuple((each.start, each.stop) for each in index)
        if key not in parts:
            x = tensor.read(index)
            parts[key] = x.astype(np.float32) if x.dtype == np.float64 else x
        return parts[key]

    return jax.make_array_from_callback(tensor.shape, sharding, part)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _zeros(shape: tuple[int, ...], dtype: str, sharding: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(jax.numpy.zeros(shape, dtype), sharding)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _cast(x: jax.Array, dtype: str, sharding: NamedSharding, is_transposed: bool) -> jax.Array:
    x = (x.T if is_transposed else x).astype(dtype)
    return jax.lax.with_sharding_constraint(x, sharding)


@functools.partial(jax.jit, donate_argnums=0, static_argnums=(3, 4))
def _with_layer(
    stack: jax.Array, layer: jax.Array, index: int, sharding: NamedSharding, is_transposed: bool
) -> jax.Array:
    layer = (layer.T if is_transposed else layer).astype(stack.dtype)
    stack = jax.lax.dynamic_update_index_in_dim(stack, layer, index, axis=0)
    return jax.lax.with_sharding_constraint(stack, sharding)
