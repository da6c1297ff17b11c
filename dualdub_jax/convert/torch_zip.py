"""Tensors of a file of `torch.save`, PyTorch 1.6 and later, as NumPy arrays.

Such a file is a zip archive of a pickle and of one raw file a storage. Source: the format of
`torch/serialization.py`.
"""

import functools
import pathlib
import zipfile
from typing import Any

import numpy as np

from dualdub_jax.convert.torch_pickle import TensorUnpickler


def is_torch_zip(path: pathlib.Path) -> bool:
    """Whether a file is an archive of `torch.save`."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/data.pkl") for name in archive.namelist())


def read_torch_zip(path: pathlib.Path) -> Any:
    """Reads the saved object; its tensors are NumPy arrays, objects of other classes `Inert`.

    Raises:
        ValueError, KeyError, OSError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile: a damaged file.
    """
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        byte_order = f"{folder}byteorder"
        if byte_order in archive.namelist() and archive.read(byte_order) != b"little":
            raise ValueError("its numbers are big-endian")

        @functools.cache
        def storage(dtype: np.dtype, key: str, _: int) -> np.ndarray:
            return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype)

        with archive.open(pickled) as file:
            return TensorUnpickler(file, storage).load()
