"""Tensors of a file of `torch.save` before PyTorch 1.6, as NumPy arrays.

Such a file is a sequence of pickles (a magic number, the protocol, the machine, the object, the keys of its
storages) and of the storages, each with its length. Source: the format of `torch/serialization.py`.
"""

import pathlib
from typing import Any, BinaryIO

import numpy as np

from dualdub_jax.convert.torch_pickle import TensorUnpickler

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled magic number


def is_torch_legacy(path: pathlib.Path) -> bool:
    """Whether a file begins as `torch.save` wrote it before PyTorch 1.6."""
    with path.open("rb") as file:
        return file.read(len(_START)) == _START


def read_torch_legacy(path: pathlib.Path) -> Any:
    """Reads the saved object; its tensors are NumPy arrays, objects of other classes `Inert`.

    Raises:
        ValueError, KeyError, OSError, EOFError, pickle.UnpicklingError: a damaged file.
    """
    with path.open("rb") as file:
        if _plain(file) != _MAGIC or _plain(file) != _PROTOCOL:
            raise ValueError("unknown version of the format")
        if not _plain(file).get("little_endian", True):
            raise ValueError("its numbers are big-endian")
        start = file.tell()
        # The storages come after the object: a first reading finds their types, a second one has them.
        dtypes: dict[str, np.dtype] = {}

        def declare(dtype: np.dtype, key: str, count: int) -> np.ndarray:
            dtypes[key] = dtype
            if count * dtype.itemsize > path.stat().st_size:
                raise ValueError(f"storage {key} of {count} numbers is longer than the file")
            return np.broadcast_to(np.zeros((), dtype), (max(count, 0),))

        TensorUnpickler(file, declare).load()
        keys = [str(key) for key in _plain(file)]
        storages = {key: _storage(file, dtypes[key]) for key in keys}
        file.seek(start)
        return TensorUnpickler(file, lambda dtype, key, count: storages[key]).load()


def _plain(file: BinaryIO) -> Any:
    """A pickle without tensors."""

    def refuse(*_: Any) -> np.ndarray:
        raise ValueError("a tensor where none is expected")

    return TensorUnpickler(file, refuse).load()


def _storage(file: BinaryIO, dtype: np.dtype) -> np.ndarray:
    count = int.from_bytes(file.read(8), "little")
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise EOFError(f"ends in a storage of {count} numbers")
    return np.frombuffer(data, dtype)
