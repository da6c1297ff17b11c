"""A state dict that records consumed names, so that conversion misses no tensor."""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.errors import UserError

_MAX_LISTED = 8


class StateDict:
    """Tensors that are consumed by name; at the end, `finish` rejects missing and unexpected ones.

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
        """Consumes a tensor; a missing one is recorded and replaced by a scalar zero."""
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
        """Raises a `UserError` that lists all missing names."""
        if self._missing:
            raise UserError(
                f"{self._where}: lacks {_listed(self._missing)}; is it another model's checkpoint?"
            )

    def finish(self) -> None:
        """Raises a `UserError` that lists all missing or all unexpected names."""
        self.refuse_missing()
        if self._left:
            raise UserError(
                f"{self._where}: holds {_listed(sorted(self._left))}, which the model does not have; "
                "is it another model's checkpoint?"
            )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_LISTED])
    more = len(names) - _MAX_LISTED
    return f"{shown} and {more} more" if more > 0 else shown
