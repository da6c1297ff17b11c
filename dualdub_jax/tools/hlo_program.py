"""Parses optimized HLO text into computations and instructions, with the trip counts of loops.

Only what cost counting requires is parsed: shapes, operands, called computations, loop bounds. The text is
that of `compiled.as_text()` of any backend. Source: XLA's HLO text format.
"""

import dataclasses
import functools
import math
import re

_ITEM_BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2,
    "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16,
    "f8e4m3fn": 1, "f8e5m2": 1, "f8e4m3b11fnuz": 1, "token": 0, "opaque": 0,
}  # fmt: skip
_SHAPE = re.compile(r"([a-z][a-z0-9]*)\[([\d,]*)\](\{[^}]*\})?")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
    r"|\b(?:branch_computations|called_computations)=\{([^}]*)\}"
)


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of one array; a tuple is a sequence of shapes.

    Attributes:
        dtype: in HLO's notation.
        dims: lengths of the axes.
        is_on_chip: held in VMEM (layouts with "S(1)"), not in HBM.
    """

    dtype: str
    dims: tuple[int, ...]
    is_on_chip: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.dims)

    @property
    def num_bytes(self) -> float:
        return self.size * _ITEM_BYTES[self.dtype]


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction of a computation.

    Attributes:
        name: without the percent sign.
        shapes: of the result; tuples are flattened.
        opcode: such as "fusion" or "all-gather-start".
        operands: names of instructions of the same computation.
        arguments: raw text between the parentheses (a constant's value, a parameter's index).
        attributes: raw text after them.
        is_root: whether it is the computation's result.
    """

    name: str
    shapes: tuple[Shape, ...]
    opcode: str
    operands: tuple[str, ...]
    arguments: str
    attributes: str
    is_root: bool

    @property
    def shape(self) -> Shape:
        return self.shapes[0]

    @functools.cached_property
    def called(self) -> tuple[str, ...]:
        """Names of the called computations, in order of appearance."""
        names = []
        for one, many in _CALLED.findall(self.attributes):
            names += [one] if one else [name.strip().lstrip("%") for name in many.split(",") if name.strip()]
        return tuple(names)

    def attribute(self, key: str) -> str | None:
        """The value of `key=…`, braces included; None if absent."""
        match = re.search(rf"\b{key}=", self.attributes)
        return None if match is None else _balanced(self.attributes, match.end())

    def integers(self, key: str) -> tuple[int, ...]:
        """The value of `key={1,2}` as integers; empty if absent."""
        return tuple(int(number) for number in re.findall(r"\d+", self.attribute(key) or ""))


@dataclasses.dataclass(frozen=True)
class Computation:
    """Instructions by name, in textual order, which is the schedule of a scheduled module."""

    name: str
    instructions: dict[str, Instruction]

    @functools.cached_property
    def root(self) -> Instruction:
        return next(i for i in self.instructions.values() if i.is_root)

    @functools.cached_property
    def parameters(self) -> dict[int, Instruction]:
        found = [i for i in self.instructions.values() if i.opcode == "parameter"]
        return {int(i.arguments): i for i in found}

    @functools.cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """Instruction name -> its users."""
        users: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for instruction in self.instructions.values():
            for operand in dict.fromkeys(instruction.operands):
                users[operand].append(instruction)
        return users

    def operand(self, instruction: Instruction, index: int) -> Instruction:
        return self.instructions[instruction.operands[index]]


@dataclasses.dataclass(frozen=True)
class Program:
    """An HLO module.

    Attributes:
        computations: by name.
        entry: name of the entry computation.
        num_partitions: number of devices of the program.
    """

    computations: dict[str, Computation]
    entry: str
    num_partitions: int

    def trip_count(self, computation: Computation, loop: Instruction) -> int:
        """The number of iterations of a `while` loop.

        Uses the compiler's annotation if present, otherwise the loop condition: a counter with constant
        increment and limit, as in `jax.lax.scan` and `fori_loop`.

        Raises:
            ValueError: the trip count cannot be determined from the text.
        """
        noted = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.attributes)
        if noted:
            return int(noted.group(1))
        body = self.computations[loop.attribute("body").lstrip("%")]
        condition = self.computations[loop.attribute("condition").lstrip("%")]
        start = computation.operand(loop, 0)
        compare = self._condition_root(condition)
        if compare is not None and start.opcode == "tuple":
            counter = self._tuple_index(condition, compare.operands[0])
            limit = self._integer(condition, compare.operands[1], computation, start)
            first = self._integer(computation, start.operands[counter]) if counter is not None else None
            step = self._step(body, counter) if counter is not None else None
            if None not in (limit, first, step):
                above = 1 if "direction=LE" in compare.attributes else 0
                return max(0, -(-(limit + above - first) // step))
        raise ValueError(f"{loop.name}: the number of its iterations is not in the program's text")

    def _condition_root(self, condition: Computation) -> Instruction | None:
        root = condition.root
        if root.opcode == "fusion":
            inner = self.computations[root.called[0]].root
            # The fusion's parameters are its operands in order; resolve the comparison through them.
            if inner.opcode == "compare":
                fused = self.computations[root.called[0]]
                outer = [
                    root.operands[int(fused.operand(inner, i).arguments)]
                    if fused.operand(inner, i).opcode == "parameter"
                    else None
                    for i in range(2)
                ]
                if None not in outer:
                    root = dataclasses.replace(inner, operands=tuple(outer))
        is_upwards = root.opcode == "compare" and re.search(r"direction=(LT|LE)", root.attributes)
        return root if is_upwards else None

    def _tuple_index(self, computation: Computation, name: str) -> int | None:
        instruction = computation.instructions[name]
        while instruction.opcode in ("copy", "bitcast"):
            instruction = computation.operand(instruction, 0)
        if instruction.opcode != "get-tuple-element":
            return None
        return int(re.search(r"index=(\d+)", instruction.attributes).group(1))

    def _integer(
        self,
        computation: Computation,
        name: str,
        caller: Computation | None = None,
        start: Instruction | None = None,
    ) -> int | None:
        instruction = computation.instructions[name]
        while instruction.opcode in ("copy", "bitcast"):
            instruction = computation.operand(instruction, 0)
        if instruction.opcode == "constant" and re.fullmatch(r"-?\d+", instruction.arguments):
            return int(instruction.arguments)
        if instruction.opcode == "get-tuple-element" and caller is not None:
            index = self._tuple_index(computation, instruction.name)
            return self._integer(caller, start.operands[index])
        return None

    def _step(self, body: Computation, counter: int) -> int | None:
        if body.root.opcode != "tuple":
            return None
        advanced = body.instructions[body.root.operands[counter]]
        while advanced.opcode in ("copy", "bitcast"):
            advanced = body.operand(advanced, 0)
        if advanced.opcode == "fusion":
            inner = self.computations[advanced.called[0]]
            steps = [self._integer(inner, i.name) for i in inner.instructions.values()]
            found = [step for step in steps if step is not None]
            return found[0] if inner.root.opcode == "add" and len(found) == 1 else None
        if advanced.opcode != "add":
            return None
        steps = [self._integer(body, name) for name in advanced.operands]
        return next((step for step in steps if step is not None), None)


def parse_program(text: str) -> Program:
    """Parses the text of a module.

    Raises:
        ValueError: the text has no entry computation.
    """
    computations: dict[str, Computation] = {}
    entry, current = None, None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            current = Computation(header.group(2), {})
            computations[current.name] = current
            entry = current.name if header.group(1) else entry
        elif line.startswith("}"):
            current = None
        elif current is not None:
            instruction = _parse_instruction(line)
            if instruction is not None:
                current.instructions[instruction.name] = instruction
    if entry is None:
        raise ValueError("no entry computation: this is not the text of an HLO module")
    partitions = re.search(r"\bnum_partitions=(\d+)", text.split("\n", 1)[0])
    return Program(computations, entry, int(partitions.group(1)) if partitions else 1)


def _parse_instruction(line: str) -> Instruction | None:
    match = _INSTRUCTION.match(re.sub(r"/\*.*?\*/", "", line))
    if match is None:
        return None
    is_root, name, rest = match.groups()
    shape_text = _balanced(rest, 0)
    opcode, _, _ = rest[len(shape_text) :].lstrip().partition("(")
    begin = rest.index("(", len(shape_text))
    arguments = _balanced(rest, begin)
    inner = arguments[1:-1]
    return Instruction(
        name=name,
        shapes=tuple(
            Shape(dtype, tuple(int(n) for n in dims.split(",") if n), "S(1)" in layout)
            for dtype, dims, layout in _SHAPE.findall(shape_text)
        ),
        opcode=opcode,
        operands=() if opcode == "constant" else tuple(_NAME.findall(inner)),
        arguments=inner.strip(),
        attributes=rest[begin + len(arguments) :].lstrip(", "),
        is_root=bool(is_root),
    )


def _balanced(text: str, begin: int) -> str:
    """The text from `begin` to the next space or comma outside brackets."""
    depth = 0
    for position in range(begin, len(text)):
        character = text[position]
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth == 0 and text[begin] == "(":
                return text[begin : position + 1]
        elif character in " ," and depth == 0:
            return text[begin:position]
    return text[begin:]
