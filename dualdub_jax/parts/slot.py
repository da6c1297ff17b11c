"""Slots: config keys that select a class by the name of a built-in kind, or by import path."""

import dataclasses
import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from dualdub_jax.errors import UserError
from dualdub_jax.parts.import_path import import_class, is_import_path


def with_sizes(kind: str, sizes: Mapping[str, Any]) -> str:
    """A kind or import path with other sizes in its brackets."""
    name = kind.partition("(")[0]
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in sizes.items())})" if sizes else name


@dataclasses.dataclass(frozen=True)
class Slot:
    """A config key and the contract of the classes that it selects.

    Attributes:
        key: of the config, for messages.
        contract: a protocol class. A class must have its methods, with the same leading parameters; further
            parameters need defaults.
        fields: keyword arguments of the constructor.
        known: built-in kinds, name -> import path.
    """

    key: str
    contract: type
    fields: tuple[str, ...]
    known: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Classes that have passed, with the names of their sizes: batches ask for the same ones again.
    _passed: set[tuple[type, frozenset[str]]] = dataclasses.field(
        default_factory=set, init=False, repr=False, compare=False
    )

    def find(self, kind: str) -> tuple[type, dict[str, Any]]:
        """The class of a kind, and the sizes that its import path sets.

        Raises:
            UserError: an unknown kind, an import path that cannot be resolved, or a class that lacks a field
                or a method of the contract.
        """
        name, bracket, sizes = kind.partition("(")
        if name in self.known:
            # Sizes in brackets, as those of an import path.
            found, sizes = import_class(self.known[name] + bracket + sizes, self.key)
            self._check(found, sizes, f"{self.key}={kind}")
            return found, sizes
        if not is_import_path(kind):
            near = difflib.get_close_matches(kind, list(self.known), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(
                f"{self.key}: {kind!r} is none of {', '.join(self.known)}, nor an import path "
                f"'package.module:Class'{hint}"
            )
        found, sizes = import_class(kind, self.key)
        self._check(found, sizes, f"{self.key}={kind}")
        return found, sizes

    def make(self, kind: str, **fields: Any) -> Any:
        """Constructs an instance of a kind's class with its sizes and `fields`.

        Raises:
            UserError: as `find`.
        """
        found, sizes = self.find(kind)
        return found(**sizes, **fields)

    def _check(self, found: type, sizes: Mapping[str, Any], where: str) -> None:
        checked = found, frozenset(sizes)
        if checked not in self._passed:
            self._check_class(found, sizes, where)
            self._passed.add(checked)

    def _check_class(self, found: type, sizes: Mapping[str, Any], where: str) -> None:
        given = self.fields
        parameters = inspect.signature(found).parameters
        own = {name: p for name, p in parameters.items() if name not in ("parent", "name")}  # linen's
        for name in given:
            if name not in own:
                raise UserError(
                    f"{where}: has no field {name}; {self.contract.__name__} is constructed with "
                    f"{', '.join(given)}"
                )
        for name in sizes:
            if name not in own or name in given:
                free = [other for other in own if other not in given] or ["none"]
                raise UserError(f"{where}: {name} is not a size of it; those are: {', '.join(free)}")
        for name, parameter in own.items():
            is_free = parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            )
            if is_free and name not in given and name not in sizes:
                raise UserError(
                    f"{where}: its field {name} has no default; add one, or set {name}=… in the import path"
                )
        for name, method in vars(self.contract).items():
            is_method = inspect.isfunction(method) or isinstance(method, classmethod)
            if is_method and (name == "__call__" or not name.startswith("_")):
                self._check_method(found, name, where)

    def _check_method(self, found: type, name: str, where: str) -> None:
        wanted = list(inspect.signature(getattr(self.contract, name)).parameters)
        # Excludes `type.__call__`, which every class has.
        method = getattr(found, name, None) if any(name in vars(base) for base in found.__mro__) else None
        have = inspect.signature(method).parameters if callable(method) else {}
        extra = [parameter for other, parameter in have.items() if other not in wanted]
        needs = any(p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in extra)
        if list(have)[: len(wanted)] != wanted or needs:
            raise UserError(
                f"{where}: its {name}({', '.join(n for n in have if n != 'self')}) must take "
                f"({', '.join(n for n in wanted if n != 'self')}), as {self.contract.__name__} has it"
            )
