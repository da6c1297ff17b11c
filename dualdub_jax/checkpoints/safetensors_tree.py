"""Trees of parameters as safetensors, in the layout of the Hugging Face hub.

    DIR/model.safetensors                          up to 5 GB
    DIR/model-00001-of-00003.safetensors …         above, with
    DIR/model.safetensors.index.json               {"weight_map": {name: file}}

Names are dotted paths: "model.backbone.layers.attention.query.kernel". The files contain arrays and names
only; reading them executes no code.
"""

import json
import pathlib
from typing import Any

import huggingface_hub
import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

PyTree = Any  # nested dictionaries of arrays, or of `jax.ShapeDtypeStruct`

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PATTERN = "model{suffix}.safetensors"
_LARGEST_FILE_BYTES = 5 * 10**9
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "I32": "int32", "BOOL": "bool"}


def is_here(directory: pathlib.Path) -> bool:
    """Whether the folder contains parameters in this format."""
    return (directory / _SINGLE).is_file() or (directory / _INDEX).is_file()


def write(directory: pathlib.Path, params: PyTree, largest_file_bytes: int = _LARGEST_FILE_BYTES) -> None:
    """Writes parameters; host memory holds the arrays of one file at a time.

    Args:
        directory: an existing folder.
        params: fully addressable arrays, sharded or not.
        largest_file_bytes: maximum size of a file; a larger array is a file of its own.
    """
    flat = traverse_util.flatten_dict(params, sep=".")
    split = huggingface_hub.split_state_dict_into_shards_factory(
        flat,
        get_storage_size=lambda x: x.size * x.dtype.itemsize,
        filename_pattern=_PATTERN,
        max_shard_size=largest_file_bytes,
    )
    for file, names in split.filename_to_tensors.items():
        arrays = {
            name: np.ascontiguousarray(np.asarray(flat[name])).reshape(flat[name].shape) for name in names
        }
        safetensors.numpy.save_file(arrays, directory / file, metadata={"format": "flax"})
        (directory / file).chmod(0o644)  # the library creates files with owner-only permissions
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (directory / _INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def read_shapes(directory: pathlib.Path) -> PyTree:
    """Reads shapes and dtypes from the headers of the files.

    Raises:
        OSError, ValueError, safetensors.SafetensorError: missing or truncated files.
    """
    shapes = {}
    for file, names in _names_by_file(directory).items():
        with safetensors.safe_open(directory / file, framework="np") as opened:
            for name in names or opened.keys():
                array = opened.get_slice(name)
                shapes[name] = jax.ShapeDtypeStruct(tuple(array.get_shape()), _DTYPES[array.get_dtype()])
    return traverse_util.unflatten_dict(shapes, sep=".")


def read(directory: pathlib.Path, target: PyTree) -> PyTree:
    """Reads arrays onto devices; for each device only its shard is read.

    Args:
        directory: with the files.
        target: tree of `jax.ShapeDtypeStruct` with shardings, or a part of it; shapes and dtypes as of
            `read_shapes`.

    Raises:
        OSError, ValueError, safetensors.SafetensorError: missing or truncated files.
    """
    wanted = traverse_util.flatten_dict(target, sep=".")
    params = {}
    for file, names in _names_by_file(directory).items():
        if not names:
            with safetensors.safe_open(directory / file, framework="np") as opened:
                names = list(opened.keys())
        for name in wanted.keys() & set(names):
            # Opened for each array: pages of a mapped file stay in resident memory until it is closed.
            with safetensors.safe_open(directory / file, framework="np") as opened:
                array, shape = opened.get_slice(name), wanted[name].shape

                # A scalar has no slices and is read whole.
                def part(index: tuple[slice, ...], array: Any = array) -> np.ndarray:
                    return np.asarray(array[index or ...])

                params[name] = jax.make_array_from_callback(shape, wanted[name].sharding, part)
    return traverse_util.unflatten_dict(params, sep=".")


def _names_by_file(directory: pathlib.Path) -> dict[str, list[str]]:
    """Array names by file; an empty list for a single file, which holds all arrays."""
    if (directory / _SINGLE).is_file():
        return {_SINGLE: []}
    files: dict[str, list[str]] = {}
    for name, file in json.loads((directory / _INDEX).read_text(encoding="utf-8"))["weight_map"].items():
        # Only the file name: a path must not lead out of the folder.
        files.setdefault(pathlib.PurePosixPath(file).name, []).append(name)
    return files
