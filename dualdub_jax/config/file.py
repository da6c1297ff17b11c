"""Config files: Python files with `get_config(arg=None) -> ConfigDict`, by path or by name, and overrides."""

import dataclasses
import difflib
import functools
import importlib.resources
import importlib.util
import json
import pathlib
import types
from collections.abc import Sequence
from typing import Any

from dualdub_jax.config.groups import from_dict, to_dict
from dualdub_jax.config.schema import Config
from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import as_local_path, as_path

_OWN = "dualdub_jax.configs"
_SHARED = ("__init__", "common", "ladder")
# Keys that are paths, or may be; they are checked before any work.
_PATHS = (
    *("data_dir", "codecs_from", "model_from", "init_from.backbone"),
    *("model.script_tokenizer", "casp_training.audio_encoder"),
)


def find_config_file(name: str) -> pathlib.Path:
    """A config file by its path, or by the name of one of the project's, such as "puppet".

    Raises:
        UserError: neither; the message names the nearest config.
    """
    path, own = pathlib.Path(name), own_configs()
    if path.is_file():
        return path
    if name in own:
        return own[name]
    near = difflib.get_close_matches(path.stem, list(own), n=1, cutoff=0.0)[0]
    raise UserError(
        f"{name}: no such config file, nor a config of the project ({', '.join(sorted(own))}); "
        f"the nearest is {near}"
    )


def own_configs() -> dict[str, pathlib.Path]:
    """The project's configs by name; a fork's is named by its folder."""
    folder = pathlib.Path(str(importlib.resources.files(_OWN)))
    configs = {file.stem: file for file in folder.glob("*.py") if file.stem not in _SHARED}
    return configs | {file.parent.name: file for file in folder.glob("proj/*/config.py")}


def load_config(path: str, overrides: Sequence[str] = ()) -> Config:
    """Reads a config file and applies overrides.

    Args:
        path: a Python file with `get_config(arg=None)`, or the name of one of the project's configs, such as
            "puppet"; `file.py:arg` and `puppet:arg` pass `arg`.
        overrides: `KEY=VALUE` strings with dotted keys, such as `model.width=256`; a number in a key
            indexes a sequence (`stages.0.num_steps=10`). Values are JSON, or else strings.

    Raises:
        UserError: no such config, no `get_config` in it, an unknown key, a value of the wrong type, or a path
            with a scheme that is not taken.
    """
    if "://" in path:
        as_local_path(path, "--config")
    file, _, arg = path.partition(":")
    file = str(find_config_file(file))
    spec = importlib.util.spec_from_file_location("dualdub_config_file", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file}: not a Python file; a config is a .py file with get_config()")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not isinstance(getattr(module, "get_config", None), types.FunctionType):
        raise UserError(f"{file}: has no get_config(); copy configs/puppet.py to start a new config")
    try:
        values = module.get_config(arg) if arg else module.get_config()
    except (ValueError, TypeError) as error:
        if not arg:
            raise
        raise UserError(f"{path}: get_config({arg!r}): {error}") from error
    values = to_dict(values) if dataclasses.is_dataclass(values) else json.loads(values.to_json_best_effort())
    for override in overrides:
        _apply_override(values, override)
    config = from_dict(values, Config)
    for key in _PATHS:
        value = _value(config, key)
        if "(" not in value:  # a kind with sizes, which has its paths in brackets
            as_path(value, f"config.{key}")
    return config


def _value(config: Config, key: str) -> str:
    return functools.reduce(getattr, key.split("."), config)


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise UserError(f"--config.{override}: expected --config.KEY=VALUE")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    node: Any = values
    *parents, last = key.split(".")
    for part in parents:
        if isinstance(node, list):
            node = node[_index(part, node, key)]
        else:
            # An absent group has its defaults; `from_dict` reports an unknown one.
            node = node.setdefault(part, {})
    if isinstance(node, list):
        node[_index(last, node, key)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise UserError(f"--config.{key}: {'.'.join(parents)} is not a group of keys")


def _index(part: str, node: list[Any], key: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise UserError(f"--config.{key}: {part!r} is not an index below {len(node)}")
    return int(part)
