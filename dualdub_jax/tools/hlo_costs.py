"""Costs of an optimized program per device: FLOPs, HBM bytes, bytes sent between devices.

A loop counts with its trip count, a conditional with its most expensive branch. The compiler's own
`cost_analysis()` counts a loop's body once and is therefore not used.

FLOPs are those of matrix products and convolutions, two per multiply-add, without taps on padding or on the
holes of a dilated input (TPU programs express batched products as such convolutions). HBM bytes are what each
instruction reads and writes; a slice counts with its own size, not with that of its operand.

A Pallas kernel is opaque; its FLOPs and exponentials are those declared by `pl.CostEstimate`, which the
program's text contains. Its products are assumed to have the width of its first operand's rows, which for
attention is not optimistic.
"""

import collections
import dataclasses
import functools
import re

import numpy as np

from dualdub_jax.tools.collectives import KINDS, Collective, read_collective
from dualdub_jax.tools.hlo_program import Computation, Instruction, Program

# Instructions without computation or data movement.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id",
    "replica-id", "opt-barrier", "optimization-barrier", "copy-done", "async-done", "async-update",
    "all-gather-done", "all-reduce-done", "collective-permute-done", "add-dependency", "domain",
    "slice-done", "dynamic-slice-done",
}  # fmt: skip
# Custom calls of the TPU compiler itself: buffers, layouts and halves of collectives.
_BOOKKEEPING = {
    "AllocateBuffer", "AssumeGatherIndicesInBound", "AsyncCollectiveDone", "AsyncCollectiveStart",
    "ConcatBitcast", "GatherScatterIndicesBitpacked", "Sharding", "ZeroCrop",
}  # fmt: skip
_ALIASED = re.compile(r"\{(\d*)\}: \(")
_SLICES = ("slice", "dynamic-slice", "gather")
_DECLARED = re.compile(r'"cost_estimate":\{"flops":"(\d+)","transcendentals":"(\d+)"')


@dataclasses.dataclass
class Cost:
    """Sums over a program, for one device.

    Attributes:
        flops: of matrix products and convolutions.
        tiled_flops: the same with axes rounded up to whole tiles of the matrix unit.
        exponentials: of kernels only.
        hbm_bytes: read and written.
        collective_bytes: sent, by kind of collective.
        opaque: names of kernels without declared costs.
    """

    flops: float = 0.0
    tiled_flops: float = 0.0
    exponentials: float = 0.0
    hbm_bytes: float = 0.0
    collective_bytes: dict[str, float] = dataclasses.field(default_factory=collections.Counter)
    opaque: set[str] = dataclasses.field(default_factory=set)

    def add(self, other: "Cost", times: int = 1) -> None:
        self.flops += times * other.flops
        self.tiled_flops += times * other.tiled_flops
        self.exponentials += times * other.exponentials
        self.hbm_bytes += times * other.hbm_bytes
        for kind, num_bytes in other.collective_bytes.items():
            self.collective_bytes[kind] += times * num_bytes
        self.opaque |= other.opaque


class CostCounter:
    """Counts costs of a program's computations, with caching.

    Args:
        program: parsed text of the optimized module.
        tile: edge length of the matrix unit's tiles; 1 disables rounding.
    """

    def __init__(self, program: Program, tile: int = 1):
        self.program = program
        self.tile = tile

    def total(self) -> Cost:
        """Costs of the whole program."""
        return self.computation(self.program.entry)

    @functools.cache  # noqa: B019 - a counter lives no longer than its program
    def computation(self, name: str) -> Cost:
        """Costs of one execution of a computation."""
        cost = Cost()
        computation = self.program.computations[name]
        channels: set[str] = set()
        for instruction in computation.instructions.values():
            if instruction.opcode == "while":
                body = self.computation(instruction.attribute("body").lstrip("%"))
                cost.add(body, self.program.trip_count(computation, instruction))
            elif instruction.opcode == "conditional":
                cost.add(self.computation(self.costliest_branch(instruction)))
            elif instruction.opcode == "call":
                cost.add(self.computation(instruction.called[0]))
            else:
                cost.add(self.instruction(computation, instruction))
                for collective in self.started(computation, instruction, channels):
                    cost.collective_bytes[collective.kind] += collective.num_bytes
        return cost

    def costliest_branch(self, conditional: Instruction) -> str:
        """Name of the branch with the most FLOPs."""
        return max(conditional.called, key=lambda name: (self.computation(name).flops, name))

    def instruction(self, computation: Computation, at: Instruction) -> Cost:
        """Costs of one instruction other than a loop, branch or call, without its collectives."""
        cost = Cost()
        if at.opcode in _FREE:
            return cost
        cost.flops, cost.tiled_flops = self._flops(computation, at)
        cost.hbm_bytes = self._hbm_bytes(computation, at)
        if at.opcode == "custom-call" and not at.called:
            self._count_kernel(computation, at, cost)
        return cost

    def _count_kernel(self, computation: Computation, at: Instruction, cost: Cost) -> None:
        declared = _DECLARED.search(at.attributes)
        if declared is None:
            target = (at.attribute("custom_call_target") or "custom-call").strip('"')
            cost.opaque |= {target} - _BOOKKEEPING
            return
        cost.flops, cost.exponentials = map(float, declared.groups())
        width = computation.operand(at, 0).shape.dims[-1]
        cost.tiled_flops = cost.flops * (-(-width // self.tile) * self.tile) / width

    def started(self, computation: Computation, at: Instruction, channels: set[str]) -> list[Collective]:
        """The collectives that start in an instruction; their channels are added to `channels`."""
        found = [c for c in self.collectives(computation, at) if not c.channel or c.channel not in channels]
        channels.update(c.channel for c in found)
        return found

    def collectives(self, computation: Computation, at: Instruction) -> list[Collective]:
        """The collectives in an instruction, including those in fusions and asynchronous computations."""
        own = read_collective(self.program, computation, at)
        if own is not None:
            return [own]
        if at.opcode not in ("fusion", "async-start", "custom-call"):
            return []
        inner = [self.program.computations[name] for name in at.called]
        found = [c for body in inner for i in body.instructions.values() for c in self.collectives(body, i)]
        return [_as_reduce_scatter(c) if _keeps_one_share(self.program, at, c) else c for c in found]

    def _flops(self, computation: Computation, at: Instruction) -> tuple[float, float]:
        if at.opcode == "dot":
            return _dot_flops(computation, at, self.tile)
        if at.opcode == "convolution":
            return _convolution_flops(computation, at, self.tile)
        if at.opcode not in ("fusion", "async-start", "custom-call", "map"):
            return 0.0, 0.0
        sums = np.zeros(2)
        for name in at.called:
            body = self.program.computations[name]
            for inner in body.instructions.values():
                sums += self._flops(body, inner)
        return float(sums[0]), float(sums[1])

    def _hbm_bytes(self, computation: Computation, at: Instruction) -> float:
        if at.opcode == "fusion" and at.called:
            body = self.program.computations[at.called[0]]
            read = sum(
                self._read_bytes(body, parameter)
                for index, parameter in body.parameters.items()
                if not any(shape.is_on_chip for shape in computation.operand(at, index).shapes)
            )
            return read + _written_bytes(body, at)
        operands = [computation.operand(at, i) for i in range(len(at.operands))]
        if at.opcode in _SLICES:
            return _bytes(at.shapes) * 2
        if at.opcode == "dynamic-update-slice":
            return 2 * _bytes(operands[1].shapes)
        if at.opcode == "copy-start":
            return _bytes(operands[0].shapes) + _bytes(at.shapes[:1])
        if at.opcode.endswith("-start"):
            return _bytes([shape for operand in operands for shape in operand.shapes])
        return _bytes([shape for operand in operands for shape in operand.shapes]) + _bytes(at.shapes)

    def _read_bytes(self, body: Computation, parameter: Instruction) -> float:
        """Bytes that a fusion reads from one operand; only the slices of a sliced one."""
        whole = parameter.shape.num_bytes
        read = 0.0
        names = [parameter.name]
        while names:
            name = names.pop()
            for user in body.users[name]:
                if user.opcode == "bitcast":
                    names.append(user.name)
                elif user.opcode in _SLICES and user.operands[0] == name:
                    read += user.shape.num_bytes
                elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
                    pass  # updated in place; the rest is not read
                elif user.opcode == "fusion" and user.called:
                    inner = self.program.computations[user.called[0]]
                    places = [i for i, operand in enumerate(user.operands) if operand == name]
                    read += sum(self._read_bytes(inner, inner.parameters[i]) for i in places)
                else:
                    return whole
        return min(read, whole)


def _bytes(shapes: object) -> float:
    return sum(shape.num_bytes for shape in shapes if not shape.is_on_chip)


def _written_bytes(body: Computation, fusion: Instruction) -> float:
    """HBM bytes that a fusion writes; the result of a pending collective counts at its start."""
    passed_on = _ALIASED.findall(fusion.attribute("output_to_operand_aliasing") or "")
    roots = [body.root]
    if body.root.opcode == "tuple":
        roots = [body.instructions[name] for name in body.root.operands]
    written = 0.0
    for index, (root, shape) in enumerate(zip(roots, fusion.shapes, strict=False)):
        if str(index) in passed_on and root.opcode in ("parameter", *KINDS):
            continue
        while root.opcode == "bitcast":
            root = body.operand(root, 0)
        is_update = root.opcode == "dynamic-update-slice"
        written += (
            0.0 if shape.is_on_chip else (body.operand(root, 1).shape if is_update else shape).num_bytes
        )
    return written


def _dot_flops(computation: Computation, dot: Instruction, tile: int) -> tuple[float, float]:
    left, right = computation.operand(dot, 0).shape, computation.operand(dot, 1).shape
    contracted = [left.dims[i] for i in dot.integers("lhs_contracting_dims")]
    batch = [left.dims[i] for i in dot.integers("lhs_batch_dims")]
    k, b = int(np.prod(contracted)), int(np.prod(batch))
    m, n = left.size // (k * b), right.size // (k * b)
    return 2.0 * b * m * n * k, 2.0 * b * _tiled(m, n, k, tile)


def _tiled(m: int, n: int, k: int, tile: int) -> float:
    """m n k with k and the better of m and n rounded up to tiles: one operand is stationary, one streams."""
    up = lambda length: -(-length // tile) * tile  # noqa: E731
    return float(up(k) * min(m * up(n), n * up(m)))


def _convolution_flops(computation: Computation, at: Instruction, tile: int) -> tuple[float, float]:
    labels = re.match(r"(\w+)_(\w+)->(\w+)", at.attribute("dim_labels"))
    image_labels, kernel_labels, out_labels = labels.groups()
    image, kernel = computation.operand(at, 0).shape, computation.operand(at, 1).shape
    window = at.attribute("window") or "{}"
    taps = 1.0
    num_spatial = sum(label.isdigit() for label in out_labels)
    for i in range(num_spatial):
        taps *= _valid_taps(
            image.dims[image_labels.index(str(i))],
            kernel.dims[kernel_labels.index(str(i))],
            at.shape.dims[out_labels.index(str(i))],
            {key: values[i] for key, values in _window(window, num_spatial).items()},
        )
    groups = int(at.attribute("batch_group_count") or 1)
    batch = image.dims[image_labels.index("b")] // groups
    features = kernel.dims[kernel_labels.index("o")]
    depth = kernel.dims[kernel_labels.index("i")]
    return 2.0 * taps * batch * features * depth, 2.0 * taps * _tiled(batch, features, depth, tile)


def _window(text: str, num_spatial: int) -> dict[str, list[int]]:
    """Stride, low padding and dilations per spatial axis."""

    def numbers(key: str, default: int) -> list[int]:
        found = re.search(rf"\b{key}=([\d_x\-]+)", text)
        if found is None:
            return [default] * num_spatial
        return [int(part.split("_")[0]) for part in found.group(1).split("x")]

    return {
        "stride": numbers("stride", 1),
        "pad": numbers("pad", 0),
        "lhs_dilate": numbers("lhs_dilate", 1),
        "rhs_dilate": numbers("rhs_dilate", 1),
    }


def _valid_taps(image: int, kernel: int, out: int, window: dict[str, int]) -> float:
    """Number of pairs of output position and kernel tap that read an actual input, along one axis."""
    positions = np.arange(out)[:, None] * window["stride"] - window["pad"]
    positions = positions + np.arange(kernel)[None] * window["rhs_dilate"]
    dilate = window["lhs_dilate"]
    valid = (positions >= 0) & (positions <= (image - 1) * dilate) & (positions % dilate == 0)
    return float(valid.sum())


def _keeps_one_share(program: Program, at: Instruction, collective: Collective) -> bool:
    """Whether a fusion keeps only this device's share of an all-reduce, which then is a reduce-scatter."""
    if collective.kind != "all-reduce" or at.opcode != "fusion" or collective.group_size < 2:
        return False
    body = program.computations[at.called[0]]
    for inner in body.instructions.values():
        if inner.opcode.removesuffix("-start") == "all-reduce":
            slices = [i for i in body.instructions.values() if i.opcode == "dynamic-slice"]
            return any(i.shape.size * collective.group_size <= inner.shape.size for i in slices)
    return False


def _as_reduce_scatter(collective: Collective) -> Collective:
    return dataclasses.replace(collective, kind="reduce-scatter", num_bytes=collective.num_bytes / 2)
