"""The settings that a phase depends on: derived from the config, and compared when a run resumes."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from dualdub_jax.config import Plugin, defaults_of, to_dict
from dualdub_jax.errors import UserError

_ABSENT = object()


class Settings(NamedTuple):
    """JSON of the config groups that a phase depends on.

    Attributes:
        values: of the run.
        defaults: with every key at its default: a checkpoint that is older than a key was made with those.
    """

    values: dict[str, Any]
    defaults: dict[str, Any]


def settings_of(without: tuple[str, ...] = (), **groups: Any) -> Settings:
    """Settings of a phase from the config groups that it reads.

    Keys that say how a step is computed on the machine at hand (`config.machine`) are left out: a run may
    resume with others.

    Args:
        without: prefixes of keys that do not matter to the phase, wherever they stand.
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
    if not dataclasses.is_dataclass(group) or isinstance(group, Plugin):
        return to_dict(group)
    return {
        field.name: _relevant(getattr(group, field.name), without)
        for field in dataclasses.fields(group)
        if not field.metadata.get("is_machine") and not field.name.startswith(without)
    }


def check_settings(saved: dict[str, Any], wanted: Settings, where: pathlib.Path) -> None:
    """Compares settings key by key.

    A key that the checkpoint does not have is younger than the checkpoint, which was then made with what is
    the key's default now: it must have that.

    Args:
        saved: JSON of the checkpoint.
        wanted: of the run.
        where: of the checkpoints, for the message.

    Raises:
        UserError: naming the first key that differs.
    """
    for key, was, now in differences(saved, wanted):
        raise UserError(
            f"{where}: was begun with {key}={was}, now it is {now}; use the same config, or another --workdir"
        )


def differences(saved: dict[str, Any], wanted: Settings) -> Iterator[tuple[str, Any, Any]]:
    """Yields the keys in which settings differ, dotted, with both values; "absent" where there is none."""
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
