"""TPU topologies for ahead-of-time compilation without hardware."""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Sequence

import jax
import numpy as np

from dualdub_jax.config import MeshConfig
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.chips import CHIPS, Chip

# Without these, libtpu queries a cloud machine's metadata server, logs verbosely, and admits one process at a
# time, which is only needed with real chips.
_LIBTPU_ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A slice of a TPU pod.

    Attributes:
        chip: kind of chip.
        shape: chips along each axis of the interconnect.
    """

    chip: Chip
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def num_devices(self) -> int:
        return math.prod(self.shape)

    def links(self, coordinates: np.ndarray) -> float:
        """Number of links over which one device of a group can send simultaneously.

        One per axis along which the group extends; two if the axis is a ring that the group spans.

        Args:
            coordinates: int[n, axes], positions of the group's devices.
        """
        links = 0
        for axis, length in enumerate(self.shape):
            extent = len(np.unique(coordinates[:, axis]))
            if extent > 1:
                is_ring = extent == length and length % self.chip.wraps_at == 0
                links += 2 if is_ring else 1
        return float(max(links, 1))


def parse_topology(text: str) -> Topology:
    """Parses a topology such as "v5e:8x8".

    Raises:
        UserError: an unknown chip, a malformed shape, or a wrong number of axes.
    """
    name, _, shape = text.partition(":")
    if name not in CHIPS or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
        raise UserError(
            f"--topology {text}: expected CHIP:SHAPE such as v5e:8x8 or v5p:4x4x4; "
            f"chips are {', '.join(CHIPS)}"
        )
    dims = tuple(int(n) for n in shape.split("x"))
    if len(dims) != CHIPS[name].num_axes:
        raise UserError(
            f"--topology {text}: slices of {name} have {CHIPS[name].num_axes} axes, got {len(dims)}"
        )
    return Topology(CHIPS[name], dims)


def absent_devices(topology: Topology) -> Sequence[jax.Device]:
    """Compile-only devices of a topology; computation on them is not possible.

    Raises:
        UserError: libtpu is not installed, or does not support the slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--topology {topology.name}: compiling for a TPU requires its compiler: "
            "pip install 'libtpu==0.0.42.*' (about 700 MB; no TPU is needed)"
        )
    for name, value in _LIBTPU_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology.name).devices
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"--topology {topology.name}: not supported by libtpu ({reason}); choose another slice"
        ) from error


def parse_mesh(text: str) -> MeshConfig:
    """Parses a mesh such as "data=8,fsdp=8"; omitted axes have size 1, and -1 is inferred.

    Raises:
        UserError: an unknown axis, or a size that is not an integer.
    """
    sizes = {field.name: 1 for field in dataclasses.fields(MeshConfig)}
    for item in text.split(","):
        axis, _, size = item.strip().partition("=")
        if axis not in sizes or not re.fullmatch(r"-1|[1-9]\d*", size):
            raise UserError(f"--mesh {text}: expected AXIS=SIZE with axes {', '.join(sizes)}, got {item!r}")
        sizes[axis] = int(size)
    return MeshConfig(**sizes)
