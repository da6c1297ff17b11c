"""Tensors of public checkpoints that are too large for memory: listed from headers, read slice by slice."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import ml_dtypes
import numpy as np
import safetensors

from dualdub_jax.checkpoints.damage import damage_named
from dualdub_jax.convert.public_files import checkpoint_files
from dualdub_jax.convert.torch_zip import is_torch_zip, read_torch_zip
from dualdub_jax.errors import UserError

_FLOATS = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


class PublicTensor(NamedTuple):
    """A tensor in a file.

    Attributes:
        shape: of the whole tensor.
        dtype: floating-point; another one is its name in the file, and the tensor cannot be used.
        read: reads the part that slices select.
    """

    shape: tuple[int, ...]
    dtype: np.dtype | str
    read: Callable[[tuple[slice, ...]], np.ndarray]


def list_tensors(source: pathlib.Path) -> dict[str, PublicTensor]:
    """The tensors of a checkpoint by name; reads headers only.

    Args:
        source: a file (`.safetensors`, or of `torch.save`), or a folder as Hugging Face writes it.

    Raises:
        UserError: no checkpoint, a file of it is missing, or one is damaged.
    """
    tensors: dict[str, PublicTensor] = {}
    for file in checkpoint_files(source) if source.is_dir() else (source,):
        with _damage_named(file):
            tensors |= _of_safetensors(file) if file.suffix == ".safetensors" else _of_torch(file)
    return tensors


def _of_safetensors(path: pathlib.Path) -> dict[str, PublicTensor]:
    tensors = {}
    with safetensors.safe_open(path, framework="np") as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            opened = file.get_slice(name)
            dtype = opened.get_dtype()
            read = functools.partial(_read_safetensors, path, name)
            tensors[name] = PublicTensor(tuple(opened.get_shape()), _FLOATS.get(dtype, dtype), read)
    return tensors


def _read_safetensors(path: pathlib.Path, name: str, index: tuple[slice, ...]) -> np.ndarray:
    # Opened for each tensor, since pages of the mapped file stay in memory as long as it is open.
    with _damage_named(path), safetensors.safe_open(path, framework="np") as file:
        return np.asarray(file.get_slice(name)[index or ...])


def _of_torch(path: pathlib.Path) -> dict[str, PublicTensor]:
    if not is_torch_zip(path):
        raise UserError(
            f"{path}: is no archive of torch.save (PyTorch 1.6 and later); convert it to safetensors"
        )
    content = read_torch_zip(path, is_mapped=True)
    tensors = {
        name: PublicTensor(
            x.shape,
            x.dtype if x.dtype in _FLOATS.values() else str(x.dtype),
            functools.partial(_read_torch, path, name),
        )
        for name, x in (content.items() if isinstance(content, Mapping) else ())
        if isinstance(x, np.ndarray)
    }
    if not tensors:
        raise UserError(f"{path}: expected a state dict of tensors at top level; name another checkpoint")
    return tensors


def _read_torch(path: pathlib.Path, name: str, index: tuple[slice, ...]) -> np.ndarray:
    with _damage_named(path):
        return np.array(read_torch_zip(path, is_mapped=True)[name][index or ...])


def _damage_named(file: pathlib.Path) -> contextlib.AbstractContextManager[None]:
    return damage_named(f"{file}: this checkpoint", "download it again")
