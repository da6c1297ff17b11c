"""Collectives of an optimized program: bytes sent and device groups.

Bytes are those sent by one device under ring algorithms:

    all-gather           result x (n - 1) / n
    reduce-scatter       operand x (n - 1) / n
    all-reduce           2 x operand x (n - 1) / n, a reduce-scatter and an all-gather
    all-to-all           operand x (n - 1) / n
    collective-permute   operand; 0 if every device sends to itself

with n devices in a group. Source: "How to Scale Your Model" (https://jax-ml.github.io/scaling-book/sharding).
"""

import dataclasses
import re

import numpy as np

from dualdub_jax.tools.hlo_program import Computation, Instruction, Program

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One execution of a collective.

    Attributes:
        kind: one of `KINDS`.
        num_bytes: sent by one device.
        groups: int[number of groups, n], device indices of each group; source-target pairs of a permutation.
        channel: instructions of a computation with the same channel belong to one collective: its start, its
            end, and fusions in between. "" denotes a collective of a single instruction.
    """

    kind: str
    num_bytes: float
    groups: np.ndarray
    channel: str = ""

    @property
    def group_size(self) -> int:
        return self.groups.shape[1]


def read_collective(program: Program, computation: Computation, at: Instruction) -> Collective | None:
    """Parses an instruction as a collective; None for other instructions and for `…-done`."""
    kind = at.opcode.removesuffix("-start")
    if kind not in KINDS:
        return None
    sent = sum(shape.num_bytes for name in at.operands for shape in computation.instructions[name].shapes)
    channel = at.attribute("channel_id") or ""
    if kind == "collective-permute":
        pairs = np.array(re.findall(r"\{(\d+),(\d+)\}", at.attribute("source_target_pairs") or ""), int)
        moves = pairs.size and (pairs[:, 0] != pairs[:, 1]).any()
        return Collective(kind, sent if moves else 0.0, pairs.reshape(-1, 2), channel)
    groups = read_groups(at.attributes.partition("replica_groups=")[2] or "{}", program.num_partitions)
    n = groups.shape[1]
    moved = {
        "all-gather": sent * (n - 1),  # the operand is one n-th of the result
        "reduce-scatter": sent * (n - 1) / n,
        "all-reduce": 2 * sent * (n - 1) / n,
        "all-to-all": sent * (n - 1) / n,
    }
    return Collective(kind, moved[kind], groups, channel)


def read_groups(text: str, num_devices: int) -> np.ndarray:
    """Replica groups as int[number of groups, n].

    Args:
        text: begins with `{{0,1},{2,3}}`, `[2,2]<=[4]`, `[2,2]<=[2,2]T(1,0)`, `{}` for all devices, or
            `mesh['a'=2,'b'=2] {'b'}` for groups along named axes of a mesh (with `, device_ids=(…)` before
            the axes if the devices are permuted).
        num_devices: of the program.

    Raises:
        ValueError: an unknown form.
    """
    iota = re.match(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    if iota:
        shape, dims, axes = map(_integers, iota.groups())
        return _iota(dims, axes).reshape(shape)
    named = re.match(
        r"mesh\[([^\]]*)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? ?\{([^}:]*)\}", text
    )
    if named:
        sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", named.group(1))}
        along = re.findall(r"'([^']+)'", named.group(4))
        names = [name for name in sizes if name not in along] + along
        dims, axes = map(_integers, named.groups()[1:3])
        ids = _iota(dims or list(sizes.values()), axes).reshape(list(sizes.values()))
        ids = ids.transpose([list(sizes).index(name) for name in names])
        return ids.reshape(-1, int(np.prod([sizes[name] for name in along])))
    if text.startswith("{}"):
        return np.arange(num_devices)[None]
    lists = re.match(r"\{((?:\{[\d,]+\},?)+)\}", text)
    if lists is None:
        raise ValueError(f"replica groups of unknown form: {text[:80]}")
    return np.array([[int(n) for n in g.split(",")] for g in re.findall(r"\{([\d,]+)\}", lists.group(1))])


def _integers(text: str | None) -> list[int]:
    return [int(n) for n in text.split(",")] if text else []


def _iota(dims: list[int], axes: list[int]) -> np.ndarray:
    ids = np.arange(int(np.prod(dims))).reshape(dims)
    return ids.transpose(axes) if axes else ids
