"""A number for each array of a state, to tell after reading whether it is what was written.

File formats notice a file that ends early, not always a flipped bit. The number is the sum modulo 2^32 of the
array's bits, as unsigned integers, weighted by position: exact whatever the order of adding, so that each
process adds up its own shards and the result does not depend on the mesh. Source: our choice.
"""

from typing import Any

import jax
import numpy as np

from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.parallel import distributed

PyTree = Any

_MODULUS = 2**32


def fingerprint(state: PyTree) -> dict[str, int]:
    """The fingerprint of each array by its path; with several processes, each must call it."""
    leaves = jax.tree.leaves_with_path(state)
    own = [_of_shards(leaf) for _, leaf in leaves]
    totals = [sum(column) % _MODULUS for column in zip(*distributed.gather_json(own), strict=True)]
    return {path_name(path): total for (path, _), total in zip(leaves, totals, strict=True)}


def differing(saved: dict[str, int], state: PyTree) -> list[str]:
    """Paths of arrays that are not what `saved` was taken of."""
    return [name for name, number in fingerprint(state).items() if saved.get(name, number) != number]


def _of_shards(x: jax.Array) -> int:
    """What this process adds to an array's number: a shard that several devices hold counts once."""
    return sum(
        _of_block(np.asarray(shard.data), shard.index, x.shape)
        for shard in x.addressable_shards
        if shard.replica_id == 0
    )


def _of_block(block: np.ndarray, index: tuple[slice, ...], shape: tuple[int, ...]) -> int:
    """The sum over a block of bits * (1 + position in the whole array).

    The position is a sum of one term an axis, so the bits are first added up along all other axes.
    """
    bits = np.ascontiguousarray(block).view(f"u{block.dtype.itemsize}").reshape(block.shape)
    total, stride = int(bits.sum(dtype=np.uint64)), 1
    for axis in reversed(range(block.ndim)):
        others = tuple(other for other in range(block.ndim) if other != axis)
        along = bits.sum(axis=others, dtype=np.uint64) % _MODULUS
        start = index[axis].start or 0
        places = np.arange(start, start + block.shape[axis], dtype=np.uint64) % _MODULUS
        total += stride * int((along * places % _MODULUS).sum(dtype=np.uint64))
        stride *= shape[axis]
    return total % _MODULUS
