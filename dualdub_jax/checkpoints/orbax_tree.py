"""Trees of parameters as orbax's arrays, in a folder on a local disk or an object store.

Reading uses orbax's handlers directly. Its checkpointer takes a folder on an object store for incomplete if
it lacks orbax's own marker, as a folder does that was copied there from a local disk; and it synchronises
processes, which would deadlock if only one of them finds damage.
"""

from typing import Any

import orbax.checkpoint as ocp

from dualdub_jax.checkpoints import orbax_on_stores
from dualdub_jax.stores.path import StorePath, absolute, is_remote

PyTree = Any  # nested dictionaries of arrays, or of their shapes


def addressable(folder: StorePath) -> StorePath:
    """The folder as orbax takes it: with an absolute path, and on a store after orbax is prepared for it."""
    if is_remote(folder):
        orbax_on_stores.install()
    return absolute(folder)


def write(folder: StorePath, tree: PyTree) -> None:
    """Writes arrays; every process must call it."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(addressable(folder), tree)


def read_shapes(folder: StorePath) -> PyTree:
    """Reads shapes and dtypes.

    Raises:
        FileNotFoundError: there are none.
    """
    shapes = ocp.StandardCheckpointHandler().metadata(addressable(folder)).tree
    if shapes is None:
        raise FileNotFoundError(f"{folder} has no list of its arrays")
    return shapes


def read_part(folder: StorePath, target: PyTree) -> PyTree:
    """As `read`, of the arrays that `target` names alone."""
    args = ocp.args.PyTreeRestore(
        item=target,
        restore_args=ocp.checkpoint_utils.construct_restore_args(target),
        partial_restore=True,
    )
    return ocp.PyTreeCheckpointHandler().restore(addressable(folder), args=args)


def read(folder: StorePath, target: PyTree) -> PyTree:
    """Reads arrays onto devices, as the shapes and shardings of `target`; a device reads its shard only."""
    handler = ocp.StandardCheckpointHandler()
    return handler.restore(addressable(folder), args=ocp.args.StandardRestore(target))
