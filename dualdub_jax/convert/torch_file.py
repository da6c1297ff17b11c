"""Reads the tensors of a PyTorch checkpoint or a safetensors file as NumPy arrays, without running code."""

import pathlib
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.errors import UserError

# Keys of the state dict: Lightning's, then BEATs'; otherwise the file is a bare state dict.
_STATE_KEYS = ("state_dict", "model")


def read_tensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    """Reads a file.

    Args:
        path: `.safetensors`, which requires the package safetensors, or a file of `torch.save`, which
            requires torch.

    Returns:
        Tensors by name, floating-point ones as float32; and the file's configuration ("cfg" of BEATs
        checkpoints), {} if none.

    Raises:
        UserError: the file is missing or malformed, a package is not installed, or a pickle holds more than
            tensors and plain values.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a checkpoint (.ckpt, .pt) or a .safetensors copy of it")
    if path.suffix == ".safetensors":
        return _read_safetensors(path), {}
    return _read_torch(path)


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise UserError(f"{path}: reading it needs safetensors; run: pip install safetensors") from None
    try:
        tensors = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: not readable as safetensors ({error}); save its tensors as float32"
        ) from None
    return {
        name: x.astype(np.float32) if np.issubdtype(x.dtype, np.floating) else x
        for name, x in tensors.items()
    }


def _read_torch(path: pathlib.Path) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path}: reading it needs torch, which is not installed; run: pip install torch "
            "--index-url https://download.pytorch.org/whl/cpu, or give a .safetensors copy of its state dict"
        ) from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: holds more than tensors and plain values, and code in checkpoints is never run; "
            "give a .safetensors copy of its state dict"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not readable as a PyTorch checkpoint ({reason})") from None
    state, config = content, {}
    if isinstance(content, Mapping):
        config = content.get("cfg") or {}
        for key in _STATE_KEYS:
            if isinstance(content.get(key), Mapping):
                state = content[key]
                break
    if not isinstance(state, Mapping) or not all(isinstance(x, torch.Tensor) for x in state.values()):
        raise UserError(
            f"{path}: expected a state dict of tensors, at top level or under {' or '.join(_STATE_KEYS)}; "
            "give a checkpoint that has one"
        )
    return {
        name: (x.float() if x.is_floating_point() else x).detach().numpy() for name, x in state.items()
    }, (config if isinstance(config, Mapping) else {})
