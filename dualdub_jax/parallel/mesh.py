"""The device mesh, the sharding of states, and the sharding of batches."""

import logging
import math
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.config import MeshConfig
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.sharding import RULES

PyTree = Any  # a phase's state or batch, or shardings of a state

AXES = ("data", "fsdp", "tensor", "sequence")
BATCH_AXES = ("data", "fsdp")  # must be the first of `AXES`, see `batch_share`

_log = logging.getLogger(__name__)


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """Makes a mesh of all devices (or of `devices`); a size of -1 is inferred from the others.

    Raises:
        UserError: the product of the sizes is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [getattr(config, axis) for axis in AXES]
    if sizes.count(-1) == 1:
        rest = int(np.prod([size for size in sizes if size != -1]))
        sizes[sizes.index(-1)] = len(devices) // rest if rest and len(devices) % rest == 0 else 0
    if int(np.prod(sizes)) != len(devices) or min(sizes) < 1:
        asked = ", ".join(f"{axis}={getattr(config, axis)}" for axis in AXES)
        raise UserError(
            f"mesh: {asked} does not fill {len(devices)} devices; the product of the sizes must be that "
            "number, and at most one may be -1"
        )
    axis_types = (AxisType.Auto,) * len(AXES)
    try:
        return jax.make_mesh(tuple(sizes), AXES, axis_types=axis_types, devices=devices)
    except NotImplementedError:
        # How JAX says that no product of whole axes of the slice has such a size, as fsdp=8 on 4x4.
        # Split axes have shorter rings, which is better than no mesh.
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
        return Mesh(grid, AXES, axis_types=axis_types)


def state_sharding(abstract_state: PyTree, mesh: Mesh) -> PyTree:
    """Shardings of a state whose leaves are boxed with logical axis names; other leaves are replicated.

    A dimension that its mesh axes do not divide (a vocabulary of 259 on tensor=2) is replicated along them,
    and a warning names the array: pad such a size if it is large.
    """
    specs = nn.get_partition_spec(abstract_state)
    wanted = nn.logical_to_mesh_sharding(specs, mesh, RULES)
    shapes = jax.eval_shape(nn.unbox, abstract_state)
    fitted = jax.tree.map(lambda x, sharding: _fit(x.shape, sharding), shapes, wanted)
    if jax.process_index() == 0:
        replicated = [
            f"{path_name(path)} {x.shape}"
            for (path, x), a, b in zip(
                jax.tree.leaves_with_path(shapes),
                jax.tree.leaves(wanted),
                jax.tree.leaves(fitted),
                strict=True,
            )
            if a != b
        ]
        if replicated:
            _log.warning(
                "%d arrays have a dimension that the mesh does not divide and are replicated along it: %s",
                len(replicated),
                ", ".join(replicated[:3]) + (", …" if len(replicated) > 3 else ""),
            )
    return fitted


def _fit(shape: tuple[int, ...], sharding: NamedSharding) -> NamedSharding:
    spec = list(sharding.spec)
    for dimension, axes in enumerate(spec):
        names = (axes,) if isinstance(axes, str) else axes or ()
        if shape[dimension] % math.prod(sharding.mesh.shape[name] for name in names):
            spec[dimension] = None
    return sharding if spec == list(sharding.spec) else NamedSharding(sharding.mesh, PartitionSpec(*spec))


def batch_share(mesh: Mesh) -> tuple[int, int]:
    """The share of every global batch that this process loads: (index, number of shares).

    Processes that hold the same rows, because the mesh shards the model between them, load the same share.

    Raises:
        UserError: the rows of two processes overlap partially.
    """
    num_rows = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    rows: dict[int, set[int]] = {}
    for row, devices in enumerate(mesh.devices.reshape(num_rows, -1)):
        for device in devices:
            rows.setdefault(device.process_index, set()).add(row)
    shares = sorted({tuple(sorted(held)) for held in rows.values()})
    if sum(map(len, shares)) != num_rows or len({len(share) for share in shares}) != 1:
        sizes = ", ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
        raise UserError(
            f"mesh: {sizes} gives processes overlapping parts of a batch; set data x fsdp to a multiple or "
            f"a divisor of the {len(rows)} processes"
        )
    return shares.index(tuple(sorted(rows[jax.process_index()]))), len(shares)


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Makes global arrays, sharded along the batch axis, from this process's host arrays.

    Args:
        batch: arrays [B / number of shares, ...].
        mesh: the device mesh.

    Returns:
        Global arrays [B, ...].

    Raises:
        UserError: B is not a multiple of data x fsdp.
    """
    sharding = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
    num_rows = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    batch_size = jax.tree.leaves(batch)[0].shape[0] * batch_share(mesh)[1]
    if batch_size % num_rows:
        raise UserError(
            f"batch_size: {batch_size} clips cannot be split over data x fsdp = {num_rows} devices; "
            "use a multiple of it, or a mesh with larger tensor or sequence"
        )
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)
