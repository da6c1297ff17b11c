"""Frozen parameters of a phase, selected by path: split off before training, merged for the forward pass."""

import re
from typing import Any

from flax import traverse_util

from dualdub_jax.errors import UserError

PyTree = Any  # nested dictionaries of parameters; leaves may be boxed


def split_frozen(params: PyTree, freeze: tuple[str, ...]) -> tuple[PyTree, PyTree]:
    """Splits parameters into those that a phase trains and those that it does not.

    Args:
        params: nested dictionaries.
        freeze: regular expressions; a parameter is frozen if one matches its whole path, such as
            "video_encoder/pixels/patch/kernel".

    Returns:
        The trained and the frozen part of the tree; the latter is None if `freeze` is empty.

    Raises:
        UserError: an expression matches no parameter, or all parameters are frozen.
    """
    if not freeze:
        return params, None
    flat = traverse_util.flatten_dict(params, sep="/")
    for pattern in freeze:
        if not any(re.fullmatch(pattern, path) for path in flat):
            raise UserError(f"freeze: {pattern!r} matches no parameter; paths look like {next(iter(flat))!r}")
    frozen = {path: x for path, x in flat.items() if any(re.fullmatch(p, path) for p in freeze)}
    trained = {path: x for path, x in flat.items() if path not in frozen}
    if not trained:
        raise UserError(f"freeze: {', '.join(freeze)} leaves no parameter to train")
    return tuple(traverse_util.unflatten_dict(part, sep="/") for part in (trained, frozen))


def merge_frozen(trained: PyTree, frozen: PyTree) -> PyTree:
    """The whole tree that `split_frozen` split."""
    if frozen is None:
        return trained
    flat = traverse_util.flatten_dict(trained) | traverse_util.flatten_dict(frozen)
    return traverse_util.unflatten_dict(flat)
