"""Estimates a program's execution time from its costs by simulating its schedule.

Assumptions:

1. Instructions run sequentially in the order of the compiler's schedule. 2. An instruction takes the maximum
of its matrix products at peak rate, with axes rounded up to whole tiles of
   the matrix unit, and its HBM traffic at peak bandwidth. Vector arithmetic is hidden behind the memory
   traffic of the same instruction and not counted. Our Pallas kernel keeps its scores on chip and has no such
   traffic: there vector arithmetic adds to the products, `_VECTOR_OPERATIONS` per exponential.
3. An asynchronous collective or copy (`…-start` to `…-done`) overlaps with the instructions in between; one
   collective and one copy at a time. A synchronous collective overlaps with nothing.
4. A collective takes its ring bytes over the links available to its group (`Topology.links`), plus one hop
   latency per step of the ring. An all-to-all among n devices traverses n / 4 hops.
"""

import dataclasses
import functools

import numpy as np

from dualdub_jax.tools.collectives import Collective
from dualdub_jax.tools.hlo_costs import CostCounter
from dualdub_jax.tools.hlo_program import Computation, Instruction
from dualdub_jax.tools.topology import Topology

# Vector operations per score of softmax, mask, gradient and casts, in either direction.
_VECTOR_OPERATIONS = 24


@dataclasses.dataclass
class Times:
    """Estimated seconds of one execution of a computation.

    Attributes:
        elapsed_s: total.
        compute_s: matrix products and kernels alone.
        hbm_s: memory traffic alone.
        interconnect_s: collectives alone.
        exposed_s: collectives that do not overlap with other instructions.
    """

    elapsed_s: float = 0.0
    compute_s: float = 0.0
    hbm_s: float = 0.0
    interconnect_s: float = 0.0
    exposed_s: float = 0.0

    def add(self, other: "Times", times: int = 1) -> None:
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + times * getattr(other, field.name))


class Roofline:
    """Estimates execution times of a program on a topology.

    Args:
        counter: of the program's costs.
        topology: target of the program.
        coordinates: int[devices, axes], position of each device in the mesh's order.
    """

    def __init__(self, counter: CostCounter, topology: Topology, coordinates: np.ndarray):
        self.counter = counter
        self.topology = topology
        self.coordinates = coordinates

    def total(self) -> Times:
        """Times of the whole program."""
        return self.computation(self.counter.program.entry)

    @functools.cache  # noqa: B019 - lives no longer than its program
    def computation(self, name: str) -> Times:
        """Times of one computation, by simulating its schedule."""
        program = self.counter.program
        computation = program.computations[name]
        times = Times()
        walk = _Walk()
        for at in computation.instructions.values():
            if at.opcode in ("while", "conditional", "call"):
                inner, runs = self._inner(computation, at)
                times.add(inner, runs)
            elif at.opcode.endswith("-done"):
                walk.wait(at.operands[0], times)
            elif self._half(at) == "AsyncCollectiveDone":
                for collective in self.counter.collectives(computation, at):
                    walk.wait(collective.channel, times)
            else:
                self._run(computation, at, times, walk)
        return times

    def _run(self, computation: Computation, at: Instruction, times: Times, walk: "_Walk") -> None:
        chip = self.topology.chip
        cost = self.counter.instruction(computation, at)
        compute_s, hbm_s = cost.tiled_flops / chip.flops_per_s, cost.hbm_bytes / chip.hbm_bytes_per_s
        compute_s += cost.exponentials * _VECTOR_OPERATIONS / chip.vector_ops_per_s
        collectives = self.counter.started(computation, at, walk.channels)
        moving_s = sum(self.collective_s(c) for c in collectives)
        times.compute_s += compute_s
        times.hbm_s += hbm_s
        times.interconnect_s += moving_s
        if at.opcode.endswith("-start"):
            walk.start(
                at.name, "collective" if collectives else "copy", max(moving_s, compute_s, hbm_s), times
            )
        elif self._half(at) == "AsyncCollectiveStart":
            for collective in collectives:
                walk.start(collective.channel, "collective", self.collective_s(collective), times)
        else:
            times.elapsed_s += max(compute_s, hbm_s, moving_s)
            times.exposed_s += max(0.0, moving_s - max(compute_s, hbm_s))

    def _half(self, at: Instruction) -> str | None:
        """Whether a fusion is the start or the end of an asynchronous collective, as in TPU programs."""
        if at.opcode != "fusion":
            return None
        for inner in self.counter.program.computations[at.called[0]].instructions.values():
            target = (inner.attribute("custom_call_target") or "").strip('"')
            if target in ("AsyncCollectiveStart", "AsyncCollectiveDone"):
                return target
        return None

    def _inner(self, computation: Computation, at: Instruction) -> tuple[Times, int]:
        program = self.counter.program
        if at.opcode == "while":
            runs = program.trip_count(computation, at)
            return self.computation(at.attribute("body").lstrip("%")), runs
        branch = self.counter.costliest_branch(at) if at.opcode == "conditional" else at.called[0]
        return self.computation(branch), 1

    def collective_s(self, collective: Collective) -> float:
        """Estimated seconds of one collective in isolation."""
        if not collective.num_bytes:
            return 0.0
        chip = self.topology.chip
        group = self.coordinates[collective.groups[0]]
        n = collective.group_size
        if collective.kind == "collective-permute":
            return collective.num_bytes / chip.link_bytes_per_s + chip.hop_s
        hops = max(1.0, n / 4) if collective.kind == "all-to-all" else 1.0
        bandwidth = chip.link_bytes_per_s * self.topology.links(group)
        steps = (2 if collective.kind == "all-reduce" else 1) * (n - 1)
        return collective.num_bytes * hops / bandwidth + steps * chip.hop_s / max(1, group.shape[1])


@dataclasses.dataclass
class _Walk:
    """State of the simulation of a computation; times in seconds.

    Attributes:
        ends: end time of each started transfer.
        kinds: "collective" or "copy" for each.
        free: time at which each kind of transfer can start again.
        channels: of the collectives started so far.
    """

    ends: dict[str, float] = dataclasses.field(default_factory=dict)
    kinds: dict[str, str] = dataclasses.field(default_factory=dict)
    free: dict[str, float] = dataclasses.field(default_factory=lambda: {"collective": 0.0, "copy": 0.0})
    channels: set[str] = dataclasses.field(default_factory=set)

    def start(self, name: str, kind: str, seconds: float, times: Times) -> None:
        self.kinds[name] = kind
        begin = max(times.elapsed_s, self.free[kind])
        self.ends[name] = self.free[kind] = begin + seconds

    def wait(self, name: str, times: Times) -> None:
        waited = max(0.0, self.ends.get(name, 0.0) - times.elapsed_s)
        times.elapsed_s += waited
        times.exposed_s += waited if self.kinds.get(name) == "collective" else 0.0
