"""Variables of a frozen codec from a folder of `dualdub convert`."""

import dataclasses
import pathlib
from typing import Any

import jax

from dualdub_jax.checkpoints.converted import read_converted
from dualdub_jax.checkpoints.public_models import how_to_get
from dualdub_jax.checkpoints.tree_paths import check_shapes
from dualdub_jax.codecs.base import Codec
from dualdub_jax.errors import UserError

PyTree = Any  # a codec's variables: nested dictionaries of arrays


def read_public_codec(codec: type[Codec], config: Any) -> PyTree:
    """Reads the variables in `config.path`.

    Args:
        codec: the class.
        config: its config group, with `kind`, `path` and sizes.

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
    different = [f"codec.{key}={sizes[key]!r}" for key, value in wanted.items() if sizes[key] != value]
    if different:
        raise UserError(f"{config.path}: has other sizes than the config; set {', '.join(different)}")
    shapes = jax.eval_shape(lambda: codec.init(config, jax.random.key(0)))
    check_shapes(shapes, variables, config.path)
    return variables


def jsonable_sizes(config: Any) -> dict[str, Any]:
    """The keys of a codec's config as JSON keeps them, less those of its use."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
        if key not in ("kind", "path") and not key.startswith("stream_")
    }
