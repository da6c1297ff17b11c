"""The device mesh, and arrays on it."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dualdub_jax.config import MeshConfig
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.sharding import RULES

PyTree = Any

AXES = ("data", "fsdp", "tensor", "sequence")


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh of all devices (or of `devices`); a size of -1 takes what the others leave.

    Raises:
        UserError: sizes that do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [getattr(config, axis) for axis in AXES]
    if sizes.count(-1) == 1:
        rest = int(np.prod([size for size in sizes if size != -1]))
        sizes[sizes.index(-1)] = len(devices) // rest if rest and len(devices) % rest == 0 else 0
    if int(np.prod(sizes)) != len(devices) or min(sizes) < 1:
        asked = ", ".join(f"{axis}={getattr(config, axis)}" for axis in AXES)
        raise UserError(
            f"mesh: {asked} does not fill {len(devices)} devices; the sizes must multiply to that number, "
            "and at most one may be -1"
        )
    return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def state_sharding(abstract_state: PyTree, mesh: Mesh) -> PyTree:
    """Shardings of a state whose leaves are boxed with logical axis names; others are replicated."""
    specs = nn.get_partition_spec(abstract_state)
    return nn.logical_to_mesh_sharding(specs, mesh, RULES)


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Host arrays of this process, batch axis first -> one global array each, split over the mesh."""
    sharding = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)
