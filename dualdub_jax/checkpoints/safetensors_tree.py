"""A tree of parameters as safetensors, laid out as on the Hugging Face hub.

    DIR/model.safetensors                          up to 5 GB
    DIR/model-00001-of-00003.safetensors …         beyond, with
    DIR/model.safetensors.index.json               {"weight_map": {name: file}}

Names are paths with dots: "model.backbone.layers.attention.query.kernel". The files hold numbers and names
only; reading them runs no code.
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

PyTree = Any

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PATTERN = "model{suffix}.safetensors"
_LARGEST_FILE_BYTES = 5 * 10**9
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "I32": "int32", "BOOL": "bool"}


def is_here(directory: pathlib.Path) -> bool:
    """True if the folder holds parameters in this format."""
    return (directory / _SINGLE).is_file() or (directory / _INDEX).is_file()


def write(directory: pathlib.Path, params: PyTree, largest_file_bytes: int = _LARGEST_FILE_BYTES) -> None:
    """Writes nested dictionaries of arrays; only one file's arrays at a time are in the host's memory.

    Args:
        directory: there already.
        params: each array whole on this process's devices, split or not.
        largest_file_bytes: where the next file begins; an array larger than that is a file of its own.
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
        (directory / file).chmod(0o644)  # the library makes files that only their owner may read
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (directory / _INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def read_shapes(directory: pathlib.Path) -> PyTree:
    """Shapes and dtypes of what is there, from the files' headers alone.

    Raises:
        OSError, ValueError, safetensors.SafetensorError: files missing or cut short.
    """
    shapes = {}
    for file, names in _names_by_file(directory).items():
        with safetensors.safe_open(directory / file, framework="np") as opened:
            for name in names or opened.keys():
                array = opened.get_slice(name)
                shapes[name] = jax.ShapeDtypeStruct(tuple(array.get_shape()), _DTYPES[array.get_dtype()])
    return traverse_util.unflatten_dict(shapes, sep=".")


def read(directory: pathlib.Path, target: PyTree) -> PyTree:
    """Reads arrays onto devices: each gets its own part, and no more than that is read for it.

    Args:
        directory: with the files.
        target: tree of `jax.ShapeDtypeStruct` with shardings, as `read_shapes` says they are.

    Raises:
        OSError, ValueError, safetensors.SafetensorError: files missing or cut short.
    """
    wanted = traverse_util.flatten_dict(target, sep=".")
    params = {}
    for file, names in _names_by_file(directory).items():
        with safetensors.safe_open(directory / file, framework="np") as opened:
            for name in names or opened.keys():
                array, shape = opened.get_slice(name), wanted[name].shape

                # An array without axes has no slices; it is taken whole.
                def part(index: tuple[slice, ...], array: Any = array) -> np.ndarray:
                    return np.asarray(array[index or ...])

                params[name] = jax.make_array_from_callback(shape, wanted[name].sharding, part)
    return traverse_util.unflatten_dict(params, sep=".")


def _names_by_file(directory: pathlib.Path) -> dict[str, list[str]]:
    """Names of each file's arrays; none where there is one file, which holds them all."""
    if (directory / _SINGLE).is_file():
        return {_SINGLE: []}
    files: dict[str, list[str]] = {}
    for name, file in json.loads((directory / _INDEX).read_text(encoding="utf-8"))["weight_map"].items():
        # A name of a file beside the index, and not a way out of the folder.
        files.setdefault(pathlib.PurePosixPath(file).name, []).append(name)
    return files
