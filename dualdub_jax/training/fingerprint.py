"""Fingerprints of the arrays of a state, which detect corruption of a checkpoint.

File formats detect truncation, but not always a flipped bit. The fingerprint is the sum modulo 2^32 of the
array's bits, as unsigned integers weighted by position. It is independent of the order of summation, so each
process sums its own shards and the result does not depend on the mesh. Source: our choice.
"""

from typing import Any

import jax
import numpy as np

from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.parallel import distributed

PyTree = Any  # a phase's state

_MODULUS = 2**32


def fingerprint(state: PyTree) -> dict[str, int]:
    """The fingerprint of each array by path; every process must call it."""
    leaves = jax.tree.leaves_with_path(state)
    own = [_of_shards(leaf) for _, leaf in leaves]
    totals = [sum(column) % _MODULUS for column in zip(*distributed.gather_json(own), strict=True)]
    return {path_name(path): total for (path, _), total in zip(leaves, totals, strict=True)}


def differing(saved: dict[str, int], state: PyTree) -> list[str]:
    """Paths of the arrays whose fingerprints differ from `saved`."""
    return [name for name, number in fingerprint(state).items() if saved.get(name, number) != number]


def _of_shards(x: jax.Array) -> int:
    """This process's contribution to an array's fingerprint; replicated shards count once."""
    return sum(
        _of_block(np.asarray(shard.data), shard.index, x.shape)
        for shard in x.addressable_shards
        if shard.replica_id == 0
    )


def _of_block(block: np.ndarray, index: tuple[slice, ...], shape: tuple[int, ...]) -> int:
    """The sum over a block of bits * (1 + flat index in the whole array).

    The flat index is a sum of one term per axis, so the bits are first summed along all other axes.
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
