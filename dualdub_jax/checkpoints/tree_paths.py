"""Parameter paths as text, and comparison of trees by path."""

from typing import Any

import jax

from dualdub_jax.errors import UserError

PyTree = Any  # a tree of arrays, or of objects with a shape


def path_name(path: tuple[Any, ...]) -> str:
    """Formats a tree path, such as "video_encoder/pixels/patch/kernel"."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def check_shapes(expected: PyTree, saved: PyTree, where: str) -> None:
    """Compares two trees of arrays (or of their metadata) leaf by leaf.

    Args:
        expected: tree of the config.
        saved: tree of the checkpoint.
        where: the checkpoint, for the message.

    Raises:
        UserError: names the first parameter that differs, and both shapes.
    """
    expected_shapes, saved_shapes = _shapes(expected), _shapes(saved)
    for name in [*expected_shapes, *saved_shapes]:
        want, have = expected_shapes.get(name, "absent"), saved_shapes.get(name, "absent")
        if want != have:
            raise UserError(
                f"{where}: of another model size: {name} is {have} in the checkpoint and {want} in the "
                "config; use the config of its training"
            )


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree.leaves_with_path(tree)
    return {path_name(path): tuple(leaf.shape) for path, leaf in leaves if hasattr(leaf, "shape")}
