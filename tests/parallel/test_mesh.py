"""Meshes on slices: their axes follow those of the interconnect, and split them where they have to."""

import dataclasses
import itertools

import numpy as np
import pytest

from dualdub_jax.config import MeshConfig
from dualdub_jax.parallel.mesh import AXES, make_mesh


@dataclasses.dataclass(frozen=True)
class Chip:
    """What `jax.make_mesh` reads of a TPU."""

    id: int
    coords: tuple[int, int, int]
    device_kind: str
    platform: str = "tpu"
    core_on_chip: int = 0
    process_index: int = 0
    slice_index: int = 0
    client: None = None


def _slice(device_kind, *shape):
    places = itertools.product(*(range(length) for length in reversed(shape)))
    return [Chip(i, (*place[::-1], 0)[:3], device_kind) for i, place in enumerate(places)]


@pytest.mark.parametrize(
    ("kind", "shape", "sizes"),
    [
        ("TPU v6 lite", (4, 4), {"data": 2, "fsdp": 8}),  # neither size is one of whole axes
        ("TPU v6 lite", (4, 4), {"data": -1, "fsdp": 2, "tensor": 2}),
        ("TPU v5", (2, 2, 4), {"data": 2, "fsdp": 8}),
        ("TPU v5", (4, 4, 4), {"data": -1, "fsdp": 8}),
        ("TPU v6 lite", (4, 4), {"data": 4, "fsdp": 4}),
    ],
)
def test_every_device_of_a_slice_is_in_the_mesh_once_and_groups_are_near(kind, shape, sizes):
    chips = _slice(kind, *shape)
    mesh = make_mesh(MeshConfig(**sizes), chips)
    assert mesh.axis_names == AXES
    for axis, size in sizes.items():
        assert size in (-1, mesh.shape[axis])
    assert sorted(chip.id for chip in mesh.devices.ravel()) == list(range(len(chips)))
    for group in np.moveaxis(mesh.devices, 1, -1).reshape(-1, mesh.shape["fsdp"]):
        # Devices of a group are a block: no two of them are farther apart than its sides allow.
        extents = [len({chip.coords[axis] for chip in group}) for axis in range(len(shape))]
        assert np.prod(extents) == len(group)
