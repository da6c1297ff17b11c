"""Parts of the model by import path: how a fork puts its own beside the core without touching it.

A config says "package.module:Class", or "package.module:Class(window_frames=25)" where the class has sizes of
its own; docs/forking.md has a whole example. A config *file* is code that its user chose to run. A bundle is
data that may come from anywhere, and importing a module runs it: so what a bundle names is imported only if
it is in this package, is imported already, or its user says so (`check_trusted`).
"""

import ast
import dataclasses
import difflib
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn

from dualdub_jax.config import Config
from dualdub_jax.errors import UserError

_OWN_PACKAGE = "dualdub_jax"
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class ImportPath(NamedTuple):
    """An import path taken apart: `module`, name of the class in it, and the sizes given in brackets."""

    module: str
    name: str
    sizes: dict[str, Any]


def import_paths(config: Config) -> dict[str, str]:
    """Every import path of a config, by its key."""
    aligner = config.model.aligner
    return {
        "config.model.aligner.mutual": aligner.mutual,
        "config.model.aligner.noncausal": aligner.noncausal,
    }


def check_trusted(config: Config, where: str, allow_code: bool = False) -> None:
    """Refuses a config read from `where` that would make the model's construction import foreign code.

    Raises:
        UserError: naming the key and the import path.
    """
    for key, text in import_paths(config).items():
        module = _parse(text, key).module
        is_known = module.split(".")[0] == _OWN_PACKAGE or module in sys.modules
        if not is_known and not allow_code:
            raise UserError(
                f"{where}: {key}={text} is code outside of DualDub, which loading would run; if you trust "
                f"it, pass --allow-code (in Python: allow_code=True, or import {module} first)"
            )


def resolve(text: str, like: type[nn.Module], key: str) -> Callable[..., nn.Module]:
    """Imports a class and checks that it can take the place of another.

    Args:
        text: "package.module:Class" or "package.module:Class(size=literal, …)".
        like: the class whose place it takes.
        key: of the config, for messages.

    Returns:
        The class with its sizes bound; call it with the fields of `like` as keywords.

    Raises:
        UserError: not an import path; a module that cannot be imported (and what to put on PYTHONPATH);
            no such class in it; not a linen module; other fields or methods than those of `like`.
    """
    path = _parse(text, key)
    where = f"{key}={text}"
    found = getattr(_import(path.module, where), path.name, None)
    if found is None:
        names = [name for name in vars(sys.modules[path.module]) if not name.startswith("_")]
        near = difflib.get_close_matches(path.name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{where}: {path.module} has no {path.name}{hint}")
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise UserError(f"{where}: {path.name} is no flax.linen.Module")
    _check_fields(found, like, path.sizes, where)
    for method in _methods(like):
        _check_method(found, like, method, where)
    return functools.partial(found, **path.sizes)


def _parse(text: str, key: str) -> ImportPath:
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


def _import(module: str, where: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.split(".")[0]
        raise UserError(
            f"{where}: cannot import {module} ({error}); put the folder that holds {top}/ on PYTHONPATH"
        ) from error


def _check_fields(found: type[nn.Module], like: type[nn.Module], sizes: dict[str, Any], where: str) -> None:
    own = {"parent", "name"}  # linen's
    fields = {field.name: field for field in dataclasses.fields(found) if field.name not in own}
    given = [field.name for field in dataclasses.fields(like) if field.name not in own]
    missing = [name for name in given if name not in fields]
    if missing:
        raise UserError(
            f"{where}: has no field {missing[0]}; it needs {', '.join(given)}, as {like.__name__}"
        )
    for name in sizes:
        if name not in fields or name in given:
            free = [name for name in fields if name not in given] or ["none"]
            raise UserError(f"{where}: {name} is not a size of it; those are: {', '.join(free)}")
    for name, field in fields.items():
        has_default = not (field.default is field.default_factory is dataclasses.MISSING)
        if name not in given and name not in sizes and not has_default:
            raise UserError(f"{where}: its field {name} has no default; give it one, or write {name}=… here")


def _methods(like: type[nn.Module]) -> list[str]:
    public = [name for name, value in vars(like).items() if inspect.isfunction(value)]
    return [name for name in public if name == "__call__" or not name.startswith("_")]


def _check_method(found: type[nn.Module], like: type[nn.Module], method: str, where: str) -> None:
    wanted = list(inspect.signature(getattr(like, method)).parameters)
    have = inspect.signature(getattr(found, method, lambda: None)).parameters
    extra = [parameter for name, parameter in have.items() if name not in wanted]
    if list(have)[: len(wanted)] != wanted or any(item.default is item.empty for item in extra):
        raise UserError(
            f"{where}: its {method}({', '.join(list(have)[1:])}) must take ({', '.join(wanted[1:])}), "
            f"as that of {like.__name__}"
        )
