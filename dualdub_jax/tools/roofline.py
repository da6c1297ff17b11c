"""From what a program costs to how long it would take: a walk through its schedule. All of it estimated.

Assumptions:

1. Instructions run one after another, in the order of the compiler's schedule.
2. An instruction takes the longest of: its matrix products at the rated speed, with axes rounded up to
   whole tiles of the matrix unit; its HBM bytes at the rated bandwidth. Arithmetic outside the matrix unit
   is not counted by itself: it is behind the memory traffic of the same instruction. A kernel of ours, which
   keeps its scores on the chip, has no such traffic to hide it: there it comes on top of the products,
   `_VECTOR_OPERATIONS` for each exponential.
3. An asynchronous collective or copy (`…-start` to `…-done`) runs beside what is scheduled between; one
   collective at a time, one copy at a time. Any other collective stops everything.
4. A collective takes its ring bytes over the links that its group can use (`Topology.links`), and a hop's
   latency for each step of the ring. An all-to-all among n pays for n / 4 hops on the way.
"""

import dataclasses
import functools

import numpy as np

from dualdub_jax.tools.collectives import Collective
from dualdub_jax.tools.hlo_costs import CostCounter
from dualdub_jax.tools.hlo_program import Computation, Instruction
from dualdub_jax.tools.topology import Topology

# What softmax, its mask, its gradient and the casts do for each score, in either direction.
_VECTOR_OPERATIONS = 24


@dataclasses.dataclass
class Times:
    """Seconds of one run of a computation.

    Attributes:
        elapsed_s: from begin to end.
        compute_s: matrix products, and kernels, alone.
        hbm_s: memory traffic alone.
        interconnect_s: collectives alone.
        exposed_s: collectives, as far as nothing else ran meanwhile.
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
    """Estimates times of a program on a topology.

    Args:
        counter: of the program's costs.
        topology: where it would run.
        coordinates: int[devices, axes], place of each device of the program, in the mesh's order.
    """

    def __init__(self, counter: CostCounter, topology: Topology, coordinates: np.ndarray):
        self.counter = counter
        self.topology = topology
        self.coordinates = coordinates

    def total(self) -> Times:
        """Of the whole program."""
        return self.computation(self.counter.program.entry)

    @functools.cache  # noqa: B019 - lives no longer than its program
    def computation(self, name: str) -> Times:
        """Of one computation: the walk."""
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
        collectives = self.counter.begun(computation, at, walk.channels)
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
        """Which end of an asynchronous collective a fusion is, in the form that TPU programs have."""
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
        branch = self.counter.dearest_branch(at) if at.opcode == "conditional" else at.called[0]
        return self.computation(branch), 1

    def collective_s(self, collective: Collective) -> float:
        """Seconds of one collective by itself."""
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
    """What is on its way while a computation is walked through.

    Attributes:
        ends: when each started transfer will be done.
        kinds: "collective" or "copy", of each.
        free: when each kind of channel is free again.
        channels: of collectives begun so far.
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
