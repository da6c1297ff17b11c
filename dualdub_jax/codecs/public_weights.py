"""Variables of a frozen codec from a folder of `dualdub convert`, all codebooks or the first ones."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dualdub_jax.checkpoints.converted import read_converted
from dualdub_jax.checkpoints.public_models import how_to_get
from dualdub_jax.checkpoints.tree_paths import check_shapes
from dualdub_jax.codecs.base import Codec
from dualdub_jax.errors import UserError

PyTree = Any  # a codec's variables: nested dictionaries of arrays


def read_public_codec(
    codec: type[Codec], config: Any, first_codebooks: Callable[[PyTree, Any], PyTree] | None = None
) -> PyTree:
    """Reads the variables in `config.path`.

    Args:
        codec: the class.
        config: its config group, with `kind`, `path` and sizes.
        first_codebooks: of a residual codec, (variables, config) -> the variables of the config's
            `num_codebooks`, which may then be fewer than the checkpoint's.

    Returns:
        Variables as NumPy arrays.

    Raises:
        UserError: no path, no folder, another kind, other sizes than the config's, or a damaged file.
    """
    kind = config.kind
    if not config.path:
        raise UserError(f"codec.kind={kind}: has no path; {how_to_get(kind)} as codec.path")
    sizes, variables = read_converted(pathlib.Path(config.path), kind)
    wanted = {key: value for key, value in jsonable_sizes(config).items() if key in sizes}
    if first_codebooks is not None:
        num_wanted, num_stored = wanted.pop("num_codebooks"), sizes["num_codebooks"]
        if not config.least_codebooks <= num_wanted <= num_stored:
            raise UserError(
                f"codec.num_codebooks={num_wanted}: {config.path} has {num_stored}; set "
                f"{config.least_codebooks} to {num_stored}"
            )
        variables = first_codebooks(variables, config)
    different = [f"codec.{key}={sizes[key]!r}" for key, value in wanted.items() if sizes[key] != value]
    if different:
        raise UserError(f"{config.path}: has other sizes than the config; set {', '.join(different)}")
    shapes = jax.eval_shape(lambda: codec.init(config, jax.random.key(0)))
    check_shapes(shapes, variables, config.path)
    return variables


def cast_to(dtype: str, tree: PyTree) -> PyTree:
    """Floating-point arrays of a decoder and its inputs in its `decode_dtype`.

    Raises:
        UserError: neither float32 nor bfloat16.
    """
    if dtype not in ("float32", "bfloat16"):
        raise UserError(f"codec.decode_dtype={dtype!r}: expected 'float32' or 'bfloat16'")
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def jsonable_sizes(config: Any) -> dict[str, Any]:
    """The keys of a codec's config as JSON keeps them, less those of its use."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
        if key not in ("kind", "path", "decode_dtype") and not key.startswith("stream_")
    }
