"""A state dict that records consumed names, so that conversion misses no tensor."""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.errors import UserError

_MAX_LISTED = 8
# Of DAC and Oobleck, in the order of their numbers.
_BLOCK_PARTS = {
    "encoder": ("res_unit1", "res_unit2", "res_unit3", "snake1", "conv1"),
    "decoder": ("snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3"),
}
_UNIT_PARTS = ("snake1", "conv1", "snake2", "conv2")
# Names of a weight-normalised kernel's norm and direction: current torch, then `torch.nn.utils.weight_norm`.
_WEIGHT_NORMS = (
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ("weight_g", "weight_v"),
)


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
        """Consumes a tensor; a missing one is recorded and replaced by a scalar zero.

        Raises:
            UserError: it is not of floating-point numbers, as in quantised files.
        """
        if name not in self._tensors:
            self._missing.append(name)
            return np.zeros((), np.float32)
        self._left.discard(name)
        tensor = self._tensors[name]
        if not np.issubdtype(tensor.dtype, np.floating):
            raise UserError(
                f"{self._where}: its {name} is {tensor.dtype}, expected floating-point numbers; take a "
                "checkpoint that is not quantised"
            )
        return tensor

    def linear(self, prefix: str) -> dict[str, np.ndarray]:
        """`prefix.weight` and `prefix.bias` of a torch Linear as a kernel [in, out] and a bias."""
        return {"kernel": self.take(f"{prefix}.weight").T, "bias": self.take(f"{prefix}.bias")}

    def norm(self, prefix: str) -> dict[str, np.ndarray]:
        """`prefix.weight` and `prefix.bias` of a torch LayerNorm."""
        return {"scale": self.take(f"{prefix}.weight"), "bias": self.take(f"{prefix}.bias")}

    def conv(self, prefix: str, use_bias: bool = True) -> dict[str, np.ndarray]:
        """A torch Conv1d as a kernel [taps, in, out] and its bias; weight norm is folded."""
        weight = self._folded(prefix)
        kernel = {"kernel": weight.transpose(2, 1, 0) if weight.ndim == 3 else weight}
        return kernel | ({"bias": self.take(f"{prefix}.bias")} if use_bias else {})

    def transposed_conv(self, prefix: str, use_bias: bool = True) -> dict[str, np.ndarray]:
        """A torch ConvTranspose1d, weight [in, out, taps], as a kernel [taps, in, out] and its bias."""
        weight = self._folded(prefix)
        kernel = {"kernel": weight.transpose(2, 0, 1) if weight.ndim == 3 else weight}
        return kernel | ({"bias": self.take(f"{prefix}.bias")} if use_bias else {})

    def _folded(self, prefix: str) -> np.ndarray:
        for norm, direction in _WEIGHT_NORMS:
            if f"{prefix}.{direction}" in self:
                return fold_weight_norm(self.take(f"{prefix}.{norm}"), self.take(f"{prefix}.{direction}"))
        return self.take(f"{prefix}.weight")

    def has_prefix(self, prefix: str) -> bool:
        """Whether any tensor's name begins so."""
        return any(name.startswith(prefix) for name in self._tensors)

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


def numbered_layers(
    tensors: Mapping[str, np.ndarray], *, layers: Mapping[str, str], inner_layers: str
) -> dict[str, np.ndarray]:
    """Renames an autoencoder of snake blocks with numbered layers to one with named blocks.

    SIDE.LAYERS.0 and the last two are convolution, snake and convolution. SIDE.LAYERS.1.INNER.2 is the third
    part of SIDE.block.0; a further number inside of a residual unit is one of its four parts.

    Args:
        tensors: by numbered name; others keep theirs.
        layers: by side, "encoder" and "decoder", the word before the numbers.
        inner_layers: the word before a block's numbers.
    """
    last = {
        side: max((int(n.split(".")[2]) for n in tensors if n.startswith(f"{side}.{word}.")), default=0)
        for side, word in layers.items()
    }
    renamed = {}
    for name, x in tensors.items():
        side, *rest = name.split(".")
        if side not in layers or rest[0] != layers[side]:
            renamed[name] = x
            continue
        number, rest = int(rest[1]), rest[2:]
        outer = {0: "conv1", last[side] - 1: "snake1", last[side]: "conv2"}
        words = [side]
        if number in outer:
            words.append(outer[number])
        else:
            words += ["block", str(number - 1), _BLOCK_PARTS[side][int(rest[1])]]
            rest = rest[2:]
            if rest[0] == inner_layers:
                words.append(_UNIT_PARTS[int(rest[1])])
                rest = rest[2:]
        renamed[".".join([*words, *rest])] = x
    return renamed


def fold_weight_norm(norm: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The kernel of torch's weight norm over all but the first axis, computed in float64.

    Raises:
        ValueError: not one norm for each entry of the first axis.
    """
    if norm.shape != (*direction.shape[:1], *(1 for _ in direction.shape[1:])):
        raise ValueError(f"a norm of {list(norm.shape)} for a kernel of {list(direction.shape)}")
    direction = direction.astype(np.float64)
    length = np.sqrt(np.sum(direction**2, axis=tuple(range(1, direction.ndim)), keepdims=True))
    return (norm * direction / length).astype(np.float32)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_LISTED])
    more = len(names) - _MAX_LISTED
    return f"{shown} and {more} more" if more > 0 else shown
