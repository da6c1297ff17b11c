"""Defaults that a fork's classes declare, so that a key left out equals the same key at its default.

Only classes whose modules are imported already are looked up: comparing settings executes no code.
"""

import dataclasses
import inspect
import sys
from typing import Any

from dualdub_jax.config import Plugin, from_dict, to_dict
from dualdub_jax.parts.import_path import ImportPath, is_import_path, parse


def plugin_keys(plugin: Plugin) -> dict[str, Any]:
    """Keys of a plugin's group, with those of its class's `Config` that are left out."""
    keys = to_dict(plugin)
    declared = getattr(_imported(parse(plugin.kind, "kind")), "Config", None)
    if not dataclasses.is_dataclass(declared):
        return keys
    values = {key: value for key, value in keys.items() if key != "kind"}
    return {**to_dict(from_dict(values, declared, plugin.kind)), "kind": plugin.kind}


def is_same_value(a: Any, b: Any) -> bool:
    """Whether two values of a key are equal; import paths also if their sizes are, defaults included."""
    if a == b or not all(isinstance(value, str) and is_import_path(value) for value in (a, b)):
        return a == b
    return _with_sizes(parse(a, a)) == _with_sizes(parse(b, b))


def _with_sizes(path: ImportPath) -> ImportPath:
    found = _imported(path)
    if found is None:
        return path
    parameters = inspect.signature(found).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return path._replace(sizes=defaults | path.sizes)


def _imported(path: ImportPath) -> Any:
    return getattr(sys.modules.get(path.module), path.name, None)
