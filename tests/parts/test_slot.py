"""Slots: what a contract demands of a class is demanded, and nothing else; every refusal names the mend."""

import types
from typing import Any, Protocol

import flax.linen as nn
import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.parts.slot import Slot


class Contract(Protocol):
    """Two methods and a class method; attributes and private methods are not demanded."""

    rate_hz: int

    def _private(self, y: Any) -> Any: ...

    @classmethod
    def init(cls, width: int) -> Any: ...

    def __call__(self, x: Any, mask: Any) -> Any: ...

    def start(self, x: Any) -> Any: ...


class Complete:
    """What the contract asks for, and what it leaves free: a size with a default, an optional argument."""

    def __init__(self, width, dtype, depth=2):
        self.width, self.dtype, self.depth = width, dtype, depth

    @classmethod
    def init(cls, width):
        return width

    def __call__(self, x, mask, scale=1.0):
        return x

    def start(self, x):
        return x


class NoField(Complete):
    def __init__(self, width):
        super().__init__(width, "float32")


class Needy(Complete):
    def __init__(self, width, dtype, depth):
        super().__init__(width, dtype, depth)


class NoCall:
    def __init__(self, width, dtype):
        pass

    init, start = classmethod(Complete.init.__func__), Complete.start


class OtherArguments(Complete):
    def __call__(self, mask, x):
        return x


class FewerArguments(Complete):
    def __call__(self, x):
        return x


class MoreArguments(Complete):
    def start(self, x, cache):
        return x


class Module(nn.Module):
    """A linen module: `name` and `parent` are linen's, and need not be given."""

    width: int
    dtype: str

    @classmethod
    def init(cls, width):
        return width

    def __call__(self, x, mask):
        return x

    def start(self, x):
        return x


@pytest.fixture(autouse=True)
def module(monkeypatch):
    found = types.ModuleType("slot_parts")
    for each in (Complete, NoField, Needy, NoCall, OtherArguments, FewerArguments, MoreArguments, Module):
        setattr(found, each.__name__, each)
    monkeypatch.setitem(__import__("sys").modules, "slot_parts", found)


SLOT = Slot(
    "config.part.kind",
    Contract,
    ("width", "dtype"),
    {"own": "slot_parts:Complete", "other": "slot_parts:Module"},
)


def test_a_kind_and_an_import_path_make_an_instance():
    assert type(SLOT.make("own", width=3, dtype="float32")) is Complete
    made = SLOT.make("slot_parts:Complete(depth=5)", width=3, dtype="float32")
    assert (made.width, made.dtype, made.depth) == (3, "float32", 5)
    module = SLOT.make("slot_parts:Module", width=3, dtype="float32", name="part")
    assert (module.width, module.name) == (3, "part")


def test_a_size_that_has_no_default_may_be_given_in_brackets():
    assert SLOT.make("slot_parts:Needy(depth=5)", width=3, dtype="float32").depth == 5


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "owm",
            r"^config.part.kind: 'owm' is none of own, other, nor an import path 'package.module:Class'; "
            r"did you mean 'own'\?$",
        ),
        ("else", r"'else' is none of own, other, nor an import path 'package.module:Class'$"),
        ("nowhere.part:A", "config.part.kind=nowhere.part:A: cannot import nowhere.part"),
        (
            "slot_parts:NoField",
            r"^config.part.kind=slot_parts:NoField: has no field dtype; Contract is constructed with "
            r"width, dtype$",
        ),
        ("slot_parts:Complete(deep=1)", "deep is not a size of it; those are: depth$"),
        ("slot_parts:Complete(width=1)", "width is not a size of it; those are: depth$"),
        ("slot_parts:Module(depth=1)", "depth is not a size of it; those are: none$"),
        ("slot_parts:Needy", r"its field depth has no default; add one, or set depth=… in the import path$"),
        ("slot_parts:NoCall", r"its __call__\(\) must take \(x, mask\), as Contract has it$"),
        ("slot_parts:OtherArguments", r"its __call__\(mask, x\) must take \(x, mask\), as Contract has it$"),
        ("slot_parts:FewerArguments", r"its __call__\(x\) must take \(x, mask\), as Contract has it$"),
        ("slot_parts:MoreArguments", r"its start\(x, cache\) must take \(x\), as Contract has it$"),
    ],
)
def test_what_does_not_fit_is_named(kind, message):
    with pytest.raises(UserError, match=message):
        SLOT.find(kind)


def test_the_projects_own_classes_fit_their_slots():
    """As a fork's class is checked, so are those that the kinds name."""
    from tests.parts.test_import_path import _slots

    checked = 0
    for slot in _slots():
        for path in slot.known.values():
            slot.find(path)
            checked += 1
    assert checked >= 7
