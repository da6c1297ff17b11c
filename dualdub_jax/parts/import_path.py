"""Classes by import path, so that a fork adds parts without editing the core.

A config names "package.module:Class", or "package.module:Class(window_frames=25)" to set sizes of the class.
A config *file* is code that its user runs. A bundle is data of any origin, and importing a module executes
it: an import path in a bundle is imported only if its module belongs to this package, is imported already, or
the user allows it (`check_trusted`).
"""

import ast
import difflib
import functools
import importlib
import re
import sys
from typing import Any, NamedTuple

from dualdub_jax.config import Config, to_dict
from dualdub_jax.errors import UserError

_OWN_PACKAGE = "dualdub_jax"
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
# Keys that may hold an import path.
_KEYS = (
    "model.video.kind",
    "model.aligner.kind",
    "model.backbone",
    "model.script_tokenizer",
    "model.script_encoder",
    "model.speaker_encoder",
    "video_features.extractor",
    *(f"streams.{s}.{key}" for s in ("speech", "background") for key in ("codec.kind", "head", "decoder")),
)


class ImportPath(NamedTuple):
    """A parsed import path: module, name of the class, and its sizes, the keyword arguments."""

    module: str
    name: str
    sizes: dict[str, Any]


def is_import_path(text: str) -> bool:
    """True for "package.module:Class…"; False for names of kinds, file paths and URLs."""
    module, separator, name = text.partition(":")
    return bool(separator) and _MODULE.fullmatch(module) is not None and not name.startswith("/")


def import_paths(config: Config) -> dict[str, str]:
    """The import paths of a config, by key."""
    found = {}
    for key in _KEYS:
        node: Any = to_dict(config)
        for part in key.split("."):
            node = node[part]
        if isinstance(node, str) and is_import_path(node):
            found[f"config.{key}"] = node
    return found


def check_trusted(config: Config, where: str, allow_code: bool = False) -> None:
    """Rejects a config whose parts would import code from outside of this package.

    Args:
        config: of a bundle or a run.
        where: its origin, for messages.
        allow_code: accept any import path.

    Raises:
        UserError: names the key and the import path.
    """
    for key, text in import_paths(config).items():
        module = parse(text, key).module
        is_known = module.split(".")[0] == _OWN_PACKAGE or module in sys.modules
        if not is_known and not allow_code:
            raise UserError(
                f"{where}: {key}={text} is code outside of DualDub, which loading would execute; if you "
                f"trust it, pass --allow-code (in Python: allow_code=True, or import {module} first)"
            )


def import_class(text: str, key: str) -> tuple[type, dict[str, Any]]:
    """Imports a class.

    Args:
        text: "package.module:Class" or "package.module:Class(size=literal, …)".
        key: of the config, for messages.

    Returns:
        The class, and its sizes.

    Raises:
        UserError: not an import path, a module that cannot be imported, or no such class in it.
    """
    path = parse(text, key)
    where = f"{key}={text}"
    try:
        module = importlib.import_module(path.module)
    except ImportError as error:
        top = path.module.split(".")[0]
        raise UserError(
            f"{where}: cannot import {path.module} ({error}); add the folder that holds {top}/ to PYTHONPATH"
        ) from error
    found = getattr(module, path.name, None)
    if found is None:
        near = difflib.get_close_matches(path.name, [n for n in vars(module) if not n.startswith("_")], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{where}: {path.module} has no {path.name}{hint}")
    if not isinstance(found, type):
        raise UserError(f"{where}: {path.name} is not a class")
    return found, path.sizes


# Cached, since data threads resolve kinds for each batch, and `ast.parse` of CPython 3.11 fails now and then
# when another thread runs within it.
@functools.lru_cache(maxsize=1024)
def parse(text: str, key: str) -> ImportPath:
    """Parses an import path without importing it; its sizes are not to be changed.

    Raises:
        UserError: not an import path, or sizes that are not literals.
    """
    module, _, rest = text.partition(":")
    try:
        tree = ast.parse(rest.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(func=tree, args=[], keywords=[])
        # Literals only: nothing is evaluated.
        sizes = {item.arg: ast.literal_eval(item.value) for item in call.keywords}
        is_valid = isinstance(call.func, ast.Name) and not call.args and None not in sizes
    except (SyntaxError, ValueError):
        is_valid = False
    if not is_valid or not _MODULE.fullmatch(module):
        raise UserError(
            f"{key}: expected 'package.module:Class' or 'package.module:Class(size=3)', got {text!r}"
        )
    return ImportPath(module, call.func.id, sizes)
