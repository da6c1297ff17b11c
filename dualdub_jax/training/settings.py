"""The settings of a phase, derived from the config and compared when a run resumes."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

from dualdub_jax.config import Plugin, defaults_of, to_dict
from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import StorePath

_ABSENT = object()


class Settings(NamedTuple):
    """The config groups that a phase depends on, JSON-serialisable.

    Attributes:
        values: of the run.
        defaults: with every key at its default, which applies to checkpoints older than the key.
    """

    values: dict[str, Any]
    defaults: dict[str, Any]


def settings_of(without: tuple[str, ...] = (), **groups: Any) -> Settings:
    """Makes the settings of a phase from the config groups that it reads.

    Machine-dependent keys (`config.machine`), which may differ in a resumed run, are excluded.

    Args:
        without: prefixes of further excluded keys, at any depth.
        groups: config dataclasses, or plain JSON values.
    """
    return Settings(
        {name: _relevant(group, without) for name, group in groups.items()},
        {name: _relevant(_default(group), without) for name, group in groups.items()},
    )


def _default(group: Any) -> Any:
    return defaults_of(group) if dataclasses.is_dataclass(group) else group


def _relevant(group: Any, without: tuple[str, ...]) -> Any:
    if isinstance(group, tuple | list):
        return [_relevant(item, without) for item in group]
    if isinstance(group, Plugin):
        group = to_dict(group)
    if isinstance(group, dict):
        return {key: _relevant(item, without) for key, item in group.items() if not key.startswith(without)}
    if not dataclasses.is_dataclass(group):
        return group
    return {
        field.name: _relevant(getattr(group, field.name), without)
        for field in dataclasses.fields(group)
        if not field.metadata.get("is_machine") and not field.name.startswith(without)
    }


def check_settings(saved: dict[str, Any], wanted: Settings, where: StorePath) -> None:
    """Compares settings key by key.

    A key that the checkpoint lacks was introduced after it was written and must have its default value.

    Args:
        saved: JSON of the checkpoint.
        wanted: of the run.
        where: folder of the checkpoints, for the message.

    Raises:
        UserError: a key differs; the message names the first one.
    """
    for key, was, now in differences(saved, wanted):
        raise UserError(
            f"{where}: was started with {key}={was}, but this run has {now}; "
            "use the same config, or another --workdir"
        )


def differences(saved: dict[str, Any], wanted: Settings) -> Iterator[tuple[str, Any, Any]]:
    """Yields (dotted key, saved value, wanted value) of keys that differ; "absent" for a missing key."""
    have, want, default = _flatten(saved), _flatten(wanted.values), _flatten(wanted.defaults)
    for key in dict.fromkeys([*want, *have]):
        was = have.get(key, default.get(key, _ABSENT))
        now = want.get(key, _ABSENT)
        if was != now:
            yield (key, *("absent" if value is _ABSENT else value for value in (was, now)))


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, list | tuple):
        tree = {str(i): value for i, value in enumerate(tree)}
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat
