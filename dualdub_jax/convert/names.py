"""A state dict that is used up name by name, so that nothing is forgotten and nothing made up."""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.errors import UserError

_MAX_LISTED = 8


class StateDict:
    """Tensors that are taken out by name; at the end, `finish` refuses missing and leftover ones.

    Args:
        tensors: by name.
        where: the file, for messages.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], where: str) -> None:
        self._tensors = tensors
        self._where = where
        self._left = set(tensors)
        self._missing: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def take(self, name: str) -> np.ndarray:
        """The tensor of this name. If there is none, that is noted, and an empty one is returned."""
        if name not in self._tensors:
            self._missing.append(name)
            return np.zeros((), np.float32)
        self._left.discard(name)
        return self._tensors[name]

    def linear(self, prefix: str) -> dict[str, np.ndarray]:
        """`prefix.weight` and `prefix.bias` of a torch Linear as a kernel [in, out] and a bias."""
        return {"kernel": self.take(f"{prefix}.weight").T, "bias": self.take(f"{prefix}.bias")}

    def norm(self, prefix: str) -> dict[str, np.ndarray]:
        """`prefix.weight` and `prefix.bias` of a torch LayerNorm."""
        return {"scale": self.take(f"{prefix}.weight"), "bias": self.take(f"{prefix}.bias")}

    def refuse_missing(self) -> None:
        """Raises a `UserError` that lists the names that were asked for and not there."""
        if self._missing:
            raise UserError(
                f"{self._where}: lacks {_listed(self._missing)}; is it another model's checkpoint?"
            )

    def finish(self) -> None:
        """Raises a `UserError` that lists names that were asked for in vain, or never asked for."""
        self.refuse_missing()
        if self._left:
            raise UserError(
                f"{self._where}: holds {_listed(sorted(self._left))}, which our model has no place for; "
                "is it another model's checkpoint?"
            )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_LISTED])
    more = len(names) - _MAX_LISTED
    return f"{shown} and {more} more" if more > 0 else shown
