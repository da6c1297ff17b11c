"""Folders of converted public weights, as `dualdub convert` writes them.

DIR/config.json         {"format": 1, "kind", "sizes", "converted_from", "sha256"}
DIR/model.safetensors   parameters (safetensors_tree.py)
"""

import json
import pathlib
import shutil
import tempfile
from typing import Any

import jax
import numpy as np

from dualdub_jax.checkpoints import safetensors_tree
from dualdub_jax.checkpoints.damage import damage_named
from dualdub_jax.checkpoints.public_models import PUBLIC_MODELS, how_to_get
from dualdub_jax.errors import UserError

PyTree = Any  # nested dictionaries of arrays

_FORMAT = 1
_CONFIG = "config.json"


def write_converted(
    directory: pathlib.Path, kind: str, sizes: dict[str, Any], params: PyTree, source: dict[str, str]
) -> None:
    """Writes a folder, whole or not at all.

    Args:
        directory: new or empty.
        kind: key of `PUBLIC_MODELS`.
        sizes: of the architecture, plain JSON values.
        params: float32 arrays.
        source: "converted_from" and "sha256" of the public file.

    Raises:
        UserError: the folder has content, or cannot be written.
    """
    directory = pathlib.Path(directory)
    refuse_content(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as temporary:
            whole = pathlib.Path(temporary) / "whole"
            whole.mkdir()
            safetensors_tree.write(whole, params)
            config = {"format": _FORMAT, "kind": kind, "sizes": sizes, **source}
            (whole / _CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
            if directory.exists():
                directory.rmdir()
            shutil.move(whole, directory)
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror}); choose another folder") from None


def refuse_content(directory: pathlib.Path) -> None:
    """Raises a `UserError` for a path that is neither new nor an empty folder."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory}: already exists; choose a new or empty folder")


def converted_kind(directory: pathlib.Path) -> str | None:
    """The kind of model in a folder of `write_converted`; None for any other folder, as a bundle's."""
    try:
        config = json.loads((pathlib.Path(directory) / _CONFIG).read_text(encoding="utf-8"))
        return config["kind"] if "format" in config else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_sizes(directory: pathlib.Path, kind: str) -> dict[str, Any]:
    """Reads the sizes of the architecture alone; arguments and errors as `read_converted`."""
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such folder; {how_to_get(kind)}")
    with damage_named(f"{directory}: these converted weights", "run dualdub convert again"):
        config = json.loads((directory / _CONFIG).read_text(encoding="utf-8"))
        found, sizes = config["kind"], config["sizes"]
    if found != kind or config.get("format") != _FORMAT:
        title = PUBLIC_MODELS[kind].title
        raise UserError(
            f"{directory}: holds {found!r} in format {config.get('format')}, expected {kind!r} in format "
            f"{_FORMAT} ({title}); name another folder, or run dualdub convert again"
        )
    return sizes


def read_converted(directory: pathlib.Path, kind: str) -> tuple[dict[str, Any], PyTree]:
    """Reads a folder.

    Args:
        directory: of `write_converted`.
        kind: expected.

    Returns:
        Sizes, and parameters as NumPy arrays.

    Raises:
        UserError: no such folder, another kind, or a damaged file.
    """
    directory = pathlib.Path(directory)
    sizes = read_sizes(directory, kind)
    with damage_named(f"{directory}: these converted weights", "run dualdub convert again"):
        shapes = safetensors_tree.read_shapes(directory)
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), shapes)
        params = safetensors_tree.read(directory, target)
    return sizes, jax.tree.map(np.asarray, params)
