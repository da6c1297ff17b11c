"""The settings of a phase, derived from the config and compared when a run resumes.

Keys that determine the arrays of a state or the meaning of their values never change in a started phase.
Those of its recipe (length, schedule, batches, weights of losses) change with `dualdub train --extend`. Keys
that are no settings of a phase (intervals, mesh, machine) may always differ.
"""

import dataclasses
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dualdub_jax.config import Plugin, defaults_of
from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import StorePath, absolute, as_path
from dualdub_jax.training.declared import is_same_value, plugin_keys

_ABSENT = object()
_PATHS = ("codecs_from", "model_from")  # settings that are folders
_ABSENT_NAME = "absent"
_MAX_NAMES = 6  # keys in a message

# The recipe of a phase, by key of the config.
_RECIPE = re.compile(
    r"(.*[._])?(num_steps|batch_size)"
    r"|(.*[._])?optimizer\.\w+"
    r"|(.*\.)?(mixture|drop|buckets|augmentation)(\..+)?"
    r"|(.*\.)?(codec|decoder)\.training\..+"
    r"|loss\.\w+"
    r"|model\.compute_dtype"
)


class Settings(NamedTuple):
    """The config groups that a phase depends on, JSON-serialisable.

    Attributes:
        values: of the run.
        defaults: with every key at its default, which applies to checkpoints older than the key.
        keys: key of the config of each group, where it differs from the group's name.
    """

    values: dict[str, Any]
    defaults: dict[str, Any]
    keys: Mapping[str, str] = {}

    def named(self, **keys: str) -> "Settings":
        """The same settings with config keys of groups, by name of the group; others are kept."""
        return self._replace(keys={**keys, **self.keys})


class Change(NamedTuple):
    """A setting that differs from the checkpoint: key of the config, saved and wanted value, JSON."""

    key: str
    old: Any
    new: Any


def settings_of(
    without: tuple[str, ...] = (), keys: Mapping[str, str] | None = None, **groups: Any
) -> Settings:
    """Makes the settings of a phase from the config groups that it reads.

    Machine-dependent keys (`config.machine`), which may differ in a resumed run, are excluded.

    Args:
        without: prefixes of further excluded keys, at any depth.
        keys: see `Settings`.
        groups: config dataclasses, or plain JSON values.
    """
    return Settings(
        {name: _relevant(group, without) for name, group in groups.items()},
        {name: _relevant(_default(group), without) for name, group in groups.items()},
        keys or {},
    )


def _default(group: Any) -> Any:
    return defaults_of(group) if dataclasses.is_dataclass(group) else group


def _relevant(group: Any, without: tuple[str, ...]) -> Any:
    if isinstance(group, tuple | list):
        return [_relevant(item, without) for item in group]
    if isinstance(group, Plugin):
        group = plugin_keys(group)
    if isinstance(group, dict):
        return {key: _relevant(item, without) for key, item in group.items() if not key.startswith(without)}
    if not dataclasses.is_dataclass(group):
        return group
    return {
        field.name: _relevant(getattr(group, field.name), without)
        for field in dataclasses.fields(group)
        if not field.metadata.get("is_machine") and not field.name.startswith(without)
    }


def check_settings(
    saved: dict[str, Any], wanted: Settings, where: StorePath, *, extend: bool = False
) -> list[Change]:
    """Compares settings key by key.

    A key that the checkpoint lacks was introduced after it was written and must have its default value.

    Args:
        saved: JSON of the checkpoint.
        wanted: of the run.
        where: folder of the checkpoints, for the message.
        extend: whether the recipe of the phase may differ.

    Returns:
        The accepted differences; empty unless `extend`.

    Raises:
        UserError: keys differ; the message names them as `dualdub train` takes them, those that never change
            first.
    """
    changes = [Change(*change) for change in differences(saved, wanted)]
    if fixed := [change for change in changes if not is_recipe(change)]:
        raise UserError(
            f"{where}: {_started_with(fixed)}, which is fixed once a phase has started; "
            "pass the old value, or another --workdir"
        )
    if changes and not extend:
        raise UserError(
            f"{where}: {_started_with(changes)}; add --extend to continue with the new value, "
            "or pass the old one"
        )
    return changes


def is_recipe(change: Change) -> bool:
    """True if the change leaves the arrays of a state and their meaning as they are."""
    if change.key.endswith(("clip_norm", "ema_decay")) and not (change.old and change.new):
        return False  # without clipping or an average, the state has another structure
    return re.fullmatch(_RECIPE, change.key) is not None


def described(changes: Sequence[Change]) -> tuple[str, str]:
    """Saved and wanted values of some changes, as arguments of `dualdub train`."""
    shown = changes[:_MAX_NAMES]
    more = f" and {len(changes) - len(shown)} more" if len(changes) > len(shown) else ""
    old, new = (
        " ".join(_argument(key, value) for key, value in side) + more
        for side in ([(c.key, c.old) for c in shown], [(c.key, c.new) for c in shown])
    )
    return old, new


def _started_with(changes: Sequence[Change]) -> str:
    old, new = described(changes)
    return f"was started with {old}, but this run has {new}"


def _argument(key: str, value: Any) -> str:
    if value == _ABSENT_NAME:
        return f"no --config.{key}"
    return f"--config.{key}={shlex.quote(value if isinstance(value, str) else json.dumps(value))}"


def differences(saved: dict[str, Any], wanted: Settings) -> Iterator[tuple[str, Any, Any]]:
    """Yields (key of the config, saved value, wanted value) of keys that differ; "absent" for a missing key.

    Sequences of another length, and of plain values, are compared as a whole.
    """
    trees = [_with_absolute_paths(tree) for tree in (saved, wanted.values, wanted.defaults)]
    for group in dict.fromkeys([*wanted.values, *saved]):
        values = (tree.get(group, _ABSENT) for tree in trees)
        for key, was, now in _differences(wanted.keys.get(group, group), *values):
            yield (key, *(_ABSENT_NAME if value is _ABSENT else value for value in (was, now)))


def _with_absolute_paths(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with absolute paths of bundles and runs; older versions stored them as given."""
    paths = {key: settings[key] for key in _PATHS if settings.get(key)}
    return settings | {key: str(absolute(as_path(path, key))) for key, path in paths.items()}


def _differences(key: str, was: Any, now: Any, default: Any) -> Iterator[tuple[str, Any, Any]]:
    was = default if was is _ABSENT else was
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now) and _has_groups(now):
        was, now, default = (_by_index(value) for value in (was, now, default))
    if isinstance(was, dict) or isinstance(now, dict):
        trees = [value if isinstance(value, dict) else {} for value in (was, now, default)]
        for name in dict.fromkeys([*trees[1], *trees[0]]):
            yield from _differences(f"{key}.{name}", *(tree.get(name, _ABSENT) for tree in trees))
    elif not is_same_value(was, now):
        yield key, was, now


def _has_groups(items: list[Any]) -> bool:
    return any(isinstance(item, dict) for item in items)


def _by_index(items: Any) -> Any:
    return {str(i): item for i, item in enumerate(items)} if isinstance(items, list) else items
