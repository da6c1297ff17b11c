"""TPU topologies that are not there: their devices, for the compiler alone."""

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

# Without these, libtpu asks the metadata server of a cloud machine who it is, complains at length, and lets
# one process in at a time, as is right where there are chips to own.
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
    """A slice of a pod.

    Attributes:
        chip: its kind of chip.
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
        """Links that one device of a group can send over at once.

        One for each axis along which the group extends, two where that axis is a closed ring and the
        group goes all the way round.

        Args:
            coordinates: int[n, axes], where the devices of the group are.
        """
        links = 0
        for axis, length in enumerate(self.shape):
            extent = len(np.unique(coordinates[:, axis]))
            if extent > 1:
                is_ring = extent == length and length % self.chip.wraps_at == 0
                links += 2 if is_ring else 1
        return float(max(links, 1))


def parse_topology(text: str) -> Topology:
    """Reads "v5e:8x8".

    Raises:
        UserError: an unknown chip or another form.
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
            f"--topology {text}: slices of {name} have {CHIPS[name].num_axes} axes, this one has {len(dims)}"
        )
    return Topology(CHIPS[name], dims)


def absent_devices(topology: Topology) -> Sequence[jax.Device]:
    """Devices of a topology that can be compiled for and not computed on.

    Raises:
        UserError: libtpu is not installed, or knows no such slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--topology {topology.name}: compiling for a TPU needs its compiler: "
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
            f"--topology {topology.name}: not a slice that libtpu compiles for ({reason})"
        ) from error


def parse_mesh(text: str) -> MeshConfig:
    """Reads "data=8,fsdp=8"; axes that are not named have size 1, and -1 takes what is left.

    Raises:
        UserError: an unknown axis or a size that is no whole number.
    """
    sizes = {field.name: 1 for field in dataclasses.fields(MeshConfig)}
    for item in text.split(","):
        axis, _, size = item.strip().partition("=")
        if axis not in sizes or not re.fullmatch(r"-1|[1-9]\d*", size):
            raise UserError(f"--mesh {text}: expected AXIS=SIZE with axes {', '.join(sizes)}, got {item!r}")
        sizes[axis] = int(size)
    return MeshConfig(**sizes)
