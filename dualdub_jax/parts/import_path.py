"""Classes by import path: how a fork's parts stand beside the core without a change to it.

A config names "package.module:Class", or "package.module:Class(window_frames=25)" where the class has sizes
of its own. A config *file* is code that its user chose to run. A bundle is data that may come from anywhere,
and importing a module runs it: an import path in a bundle is imported only if the module is in this package,
is imported already, or the user allows it (`check_trusted`).
"""

import ast
import difflib
import importlib
import re
import sys
from typing import Any, NamedTuple

from dualdub_jax.config import Config, to_dict
from dualdub_jax.errors import UserError

_OWN_PACKAGE = "dualdub_jax"
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
# Keys that may hold an import path; streams and their codecs besides.
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
    """An import path taken apart: `module`, name of the class in it, and the sizes given in brackets."""

    module: str
    name: str
    sizes: dict[str, Any]


def is_import_path(text: str) -> bool:
    """True for "package.module:Class…"; False for names of kinds and for paths of files."""
    module, separator, _ = text.partition(":")
    return bool(separator) and _MODULE.fullmatch(module) is not None


def import_paths(config: Config) -> dict[str, str]:
    """Every import path of a config, by its key."""
    found = {}
    for key in _KEYS:
        node: Any = to_dict(config)
        for part in key.split("."):
            node = node[part]
        if is_import_path(node):
            found[f"config.{key}"] = node
    return found


def check_trusted(config: Config, where: str, allow_code: bool = False) -> None:
    """Refuses a config read from `where` that would make the model's construction import foreign code.

    Raises:
        UserError: naming the key and the import path.
    """
    for key, text in import_paths(config).items():
        module = parse(text, key).module
        is_known = module.split(".")[0] == _OWN_PACKAGE or module in sys.modules
        if not is_known and not allow_code:
            raise UserError(
                f"{where}: {key}={text} is code outside of DualDub, which loading would run; if you trust "
                f"it, pass --allow-code (in Python: allow_code=True, or import {module} first)"
            )


def import_class(text: str, key: str) -> tuple[type, dict[str, Any]]:
    """Imports a class.

    Args:
        text: "package.module:Class" or "package.module:Class(size=literal, …)".
        key: of the config, for messages.

    Returns:
        The class, and the sizes in brackets.

    Raises:
        UserError: not an import path; a module that cannot be imported (and what to put on PYTHONPATH); no
            such class in it.
    """
    path = parse(text, key)
    where = f"{key}={text}"
    try:
        module = importlib.import_module(path.module)
    except ImportError as error:
        top = path.module.split(".")[0]
        raise UserError(
            f"{where}: cannot import {path.module} ({error}); put the folder that holds {top}/ on PYTHONPATH"
        ) from error
    found = getattr(module, path.name, None)
    if found is None:
        near = difflib.get_close_matches(path.name, [n for n in vars(module) if not n.startswith("_")], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{where}: {path.module} has no {path.name}{hint}")
    if not isinstance(found, type):
        raise UserError(f"{where}: {path.name} is not a class")
    return found, path.sizes


def parse(text: str, key: str) -> ImportPath:
    """Takes an import path apart; importing nothing.

    Raises:
        UserError: not an import path, or values in brackets that are not literals.
    """
    module, _, rest = text.partition(":")
    try:
        tree = ast.parse(rest.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(func=tree, args=[], keywords=[])
        # Literals only: nothing in the brackets is evaluated.
        sizes = {item.arg: ast.literal_eval(item.value) for item in call.keywords}
        is_valid = isinstance(call.func, ast.Name) and not call.args and None not in sizes
    except (SyntaxError, ValueError):
        is_valid = False
    if not is_valid or not _MODULE.fullmatch(module):
        raise UserError(
            f"{key}: expected 'package.module:Class' or 'package.module:Class(size=3)', got {text!r}"
        )
    return ImportPath(module, call.func.id, sizes)
