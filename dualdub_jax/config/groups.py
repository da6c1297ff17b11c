"""Groups of keys: conversion between nested mappings and frozen dataclasses, and groups by kind."""

import dataclasses
import difflib
import importlib
import json
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import ml_collections

from dualdub_jax.errors import UserError


def machine(default: Any) -> Any:
    """A key that affects how a step is computed and not its result, up to rounding.

    Args:
        default: value of the key.
    """
    return dataclasses.field(default=default, metadata={"is_machine": True})


@dataclasses.dataclass(frozen=True)
class Plugin:
    """A group of keys whose kind is an import path; keys are checked when the class is imported.

    Attributes:
        kind: "package.module:Class".
        settings: JSON of its other keys.
    """

    kind: str
    settings: str = "{}"


class Kinds:
    """A group of keys selected by its key `kind`.

    Args:
        known: kind -> import path of its dataclass of keys; the first kind is the default.
    """

    def __init__(self, **known: str) -> None:
        self.known = known

    def default(self, **values: Any) -> Any:
        """The group of the default kind, with `values`."""
        return self.group(next(iter(self.known)))(**values)

    def group(self, kind: str) -> type:
        """The dataclass of a known kind; imported lazily, because kinds are in higher packages."""
        module, _, name = self.known[kind].partition(":")
        return getattr(importlib.import_module(module), name)

    def convert(self, values: Mapping[str, Any], path: str) -> Any:
        """Converts a mapping to the group of its kind.

        Args:
            values: keys, with `kind` or of the default kind.
            path: dotted name of the group, for messages.

        Raises:
            UserError: an unknown kind, or as `from_dict`.
        """
        values = dict(values)
        kind = values.get("kind", next(iter(self.known)))
        if kind in self.known:
            return from_dict(values, self.group(kind), path)
        if isinstance(kind, str) and ":" in kind:
            return Plugin(kind, json.dumps({k: _plain(v) for k, v in values.items() if k != "kind"}))
        raise UserError(
            f"{path}.kind: {kind!r} is none of {', '.join(self.known)}, nor an import path "
            "'package.module:Class'"
        )


class NamedKinds(Kinds):
    """A name, or a group of keys selected by its key `kind`.

    A string is the name of a kind without keys or an import path, and is kept; the name of a kind with keys
    stands for its group with defaults.

    Args:
        plain: names of the kinds without keys.
        known: as of `Kinds`.
    """

    def __init__(self, *plain: str, **known: str) -> None:
        super().__init__(**known)
        self.plain = plain

    def convert(self, values: str | Mapping[str, Any], path: str) -> Any:
        """Converts a string, or a mapping as `Kinds.convert`."""
        if isinstance(values, str):
            return self._named(values, path)
        kind = values.get("kind")
        if kind in self.known:
            return from_dict(dict(values), self.group(kind), path)
        if not isinstance(kind, str):
            raise UserError(f"{path}: has no kind; give kind: {', '.join(self.known)}")
        if keys := ", ".join(key for key in values if key != "kind"):
            raise UserError(
                f"{path}: {kind!r} has no keys, got {keys}; sizes of an import path stand in its brackets"
            )
        return self._named(kind, path)

    def _named(self, name: str, path: str) -> Any:
        kind, bracket, _ = name.partition("(")
        if kind in self.known and bracket:
            key = f"{path.removeprefix('config.')}.KEY"
            raise UserError(f"{path}: {name!r}: sizes of {kind} are keys of its group: --config.{key}=…")
        if kind in self.known:
            return self.group(kind)()
        if name in self.plain or ":" in name:
            return name
        raise UserError(
            f"{path}: {name!r} is none of {', '.join([*self.plain, *self.known])}, nor an import path "
            "'package.module:Class'"
        )


def from_dict(values: Mapping[str, Any], cls: type, path: str = "config") -> Any:
    """Builds the frozen dataclass `cls` from nested mappings.

    Args:
        values: a mapping (also a `ConfigDict`); missing keys keep their defaults.
        cls: the dataclass.
        path: dotted name of `values` in error messages.

    Raises:
        UserError: an unknown key (the message names the nearest known one), or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(key, list(hints), n=1, cutoff=0.0)
            raise UserError(f"{path}.{key}: no such config key; the nearest one is {path}.{near[0]}")
    return cls(**{key: _convert(value, hints[key], f"{path}.{key}") for key, value in values.items()})


def _convert(value: Any, hint: Any, path: str) -> Any:
    if typing.get_origin(hint) is Annotated:
        if dataclasses.is_dataclass(value):
            return value
        kinds = hint.__metadata__[0]
        is_name = isinstance(kinds, NamedKinds) and isinstance(value, str)
        if not is_name and not isinstance(value, Mapping | ml_collections.ConfigDict):
            raise UserError(f"{path}: expected a group of keys, got {value!r}")
        return kinds.convert(value, path)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if not isinstance(value, Mapping | ml_collections.ConfigDict):
            raise UserError(f"{path}: expected a group of keys, got {value!r}")
        return from_dict(value, hint, path)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise UserError(f"{path}: expected a sequence, got {value!r}")
        return tuple(_convert(v, item, f"{path}[{i}]") for i, v in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UserError(f"{path}: expected {getattr(hint, '__name__', hint)}, got {value!r}")
    return value


def to_dict(config: Any) -> dict[str, Any]:
    """Converts a config dataclass to nested dictionaries and lists for JSON."""
    return _plain(config)


def _plain(value: Any) -> Any:
    if isinstance(value, Plugin):
        return {"kind": value.kind, **json.loads(value.settings)}
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping | ml_collections.ConfigDict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def defaults_of(config: Any) -> Any:
    """The config dataclass `config` with every key at its default; sequences of groups keep their length.

    New keys default to the behaviour before them, so a checkpoint older than a key has the key's default.
    """
    # Defaults of a plugin's keys are known to its class only; none are assumed.
    return Plugin(config.kind) if isinstance(config, Plugin) else _defaults_of(config, type(config)())


def _defaults_of(value: Any, default: Any) -> Any:
    if dataclasses.is_dataclass(value):
        if type(value) is not type(default):  # a group of another kind
            return defaults_of(value)
        names = [field.name for field in dataclasses.fields(value)]
        return type(value)(
            **{name: _defaults_of(getattr(value, name), getattr(default, name)) for name in names}
        )
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        return tuple(defaults_of(item) for item in value)
    return default
