"""Slices, meshes by name, and which links a group of devices can use."""

import numpy as np
import pytest

from dualdub_jax.config import MeshConfig
from dualdub_jax.errors import UserError
from dualdub_jax.tools import topology
from dualdub_jax.tools.topology import absent_devices, parse_mesh, parse_topology


def _grid(*shape: int) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, len(shape))


def test_a_topology_is_a_chip_and_a_shape():
    parsed = parse_topology("v5e:8x16")
    assert (parsed.chip.name, parsed.shape, parsed.num_devices, parsed.name) == (
        "v5e",
        (8, 16),
        128,
        "v5e:8x16",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("v5e", "expected CHIP:SHAPE such as v5e:8x8"),
        ("v5e:8,8", "expected CHIP:SHAPE"),
        ("h100:8", "chips are v5e, v5p, v6e"),
        ("v5e:4x4x4", "slices of v5e have 2 axes, got 3"),
    ],
)
def test_other_topologies_are_refused(text, said):
    with pytest.raises(UserError, match=said):
        parse_topology(text)


def test_a_mesh_by_name():
    assert parse_mesh("data=8,fsdp=8") == MeshConfig(data=8, fsdp=8, tensor=1, sequence=1)
    assert parse_mesh("fsdp=4, data=-1") == MeshConfig(data=-1, fsdp=4, tensor=1, sequence=1)


@pytest.mark.parametrize("text", ["fdsp=8", "data", "data=0", "data=x", "data=2;fsdp=2"])
def test_other_meshes_are_refused(text):
    with pytest.raises(UserError, match="expected AXIS=SIZE with axes data, fsdp, tensor, sequence"):
        parse_mesh(text)


def test_links_follow_the_axes_of_the_interconnect():
    small, pod, cube = map(parse_topology, ("v5e:4x4", "v5e:16x16", "v5p:4x4x4"))
    row = np.array([[0, y] for y in range(4)])
    assert small.links(row) == 1  # a line: its ends have one neighbour
    assert small.links(_grid(4, 4)) == 2
    assert pod.links(np.array([[0, y] for y in range(16)])) == 2  # a ring
    assert pod.links(np.array([[0, y] for y in range(8)])) == 1  # half of a ring
    assert pod.links(_grid(16, 16)) == 4
    assert cube.links(_grid(4, 4, 4)) == 6
    assert small.links(np.array([[1, 1]])) == 1


def test_without_libtpu_the_installation_is_named(monkeypatch):
    monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'libtpu==0\.0\.42\.\*'"):
        absent_devices(parse_topology("v5e:4x4"))
