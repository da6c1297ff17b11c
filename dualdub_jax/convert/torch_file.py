"""Reads the tensors of a PyTorch checkpoint or a safetensors file as NumPy arrays, without running code."""

import pathlib
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from dualdub_jax.convert.torch_legacy import is_torch_legacy, read_torch_legacy
from dualdub_jax.convert.torch_zip import is_torch_zip, read_torch_zip
from dualdub_jax.errors import UserError

# Keys of the state dict: Lightning's, then BEATs'; otherwise the file is a bare state dict.
_STATE_KEYS = ("state_dict", "model")


def read_tensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    """Reads a file.

    Args:
        path: `.safetensors`, `.npz`, or a file of `torch.save`; torch is not needed.

    Returns:
        Tensors by name, floating-point ones as float32; and the file's configuration ("cfg" of BEATs
        checkpoints), {} if none.

    Raises:
        UserError: the file is missing or malformed.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a checkpoint (.ckpt, .pt) or a .safetensors copy of it")
    if path.suffix == ".safetensors":
        return _read_safetensors(path), {}
    if path.suffix == ".npz":
        return _read_npz(path), {}
    return _read_torch(path)


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: not readable as safetensors ({error}); save its tensors as float32"
        ) from None
    return {name: _float32(x) for name, x in tensors.items()}


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: _float32(arrays[name]) for name in arrays.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, AttributeError) as error:
        raise UserError(f"{path}: not readable as arrays of numpy.savez ({error})") from None


def _read_torch(path: pathlib.Path) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    try:
        if is_torch_zip(path):
            content = read_torch_zip(path)
        elif is_torch_legacy(path):
            content = read_torch_legacy(path)
        else:
            raise UserError(f"{path}: is no file of torch.save, .safetensors or .npz; expected a checkpoint")
    except (OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not readable as a PyTorch checkpoint ({reason})") from None
    state, config = content, {}
    if isinstance(content, Mapping):
        config = content.get("cfg") or {}
        for key in _STATE_KEYS:
            if isinstance(content.get(key), Mapping):
                state = content[key]
                break
    if not isinstance(state, Mapping) or not any(isinstance(x, np.ndarray) for x in state.values()):
        raise UserError(
            f"{path}: expected a state dict of tensors, at top level or under {' or '.join(_STATE_KEYS)}; "
            "give a checkpoint that has one"
        )
    return {name: _float32(x) for name, x in state.items() if isinstance(x, np.ndarray)}, (
        config if isinstance(config, Mapping) else {}
    )


def _float32(x: np.ndarray) -> np.ndarray:
    """Floating-point arrays, bfloat16 among them, as float32."""
    return x if np.issubdtype(x.dtype, np.integer) or x.dtype == bool else x.astype(np.float32)
