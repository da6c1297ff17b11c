"""Reads the tensors of a PyTorch checkpoint or a safetensors file as NumPy arrays, without running code."""

import pathlib
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from dualdub_jax.convert.torch_zip import is_torch_zip, read_torch_zip
from dualdub_jax.errors import UserError

# Keys of the state dict: Lightning's, then BEATs'; otherwise the file is a bare state dict.
_STATE_KEYS = ("state_dict", "model")


def read_tensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    """Reads a file.

    Args:
        path: `.safetensors`, or a file of `torch.save`; torch is not needed.

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
    return _read_torch(path)


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: not readable as safetensors ({error}); save its tensors as float32"
        ) from None
    return {name: _float32(x) for name, x in tensors.items()}


def _read_torch(path: pathlib.Path) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    try:
        if not is_torch_zip(path):
            raise UserError(
                f"{path}: is no archive of torch.save and no .safetensors file; expected a checkpoint (files "
                "older than PyTorch 1.6: load and save them again)"
            )
        content = read_torch_zip(path)
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
