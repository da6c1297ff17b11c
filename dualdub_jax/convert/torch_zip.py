"""Tensors of a file of `torch.save`, PyTorch 1.6 and later, as NumPy arrays.

Such a file is a zip archive of a pickle and of one raw file a storage. Source: the format of
`torch/serialization.py`.
"""

import functools
import pathlib
import struct
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


def read_torch_zip(path: pathlib.Path, *, is_mapped: bool = False) -> Any:
    """Reads the saved object; its tensors are NumPy arrays, objects of other classes `Inert`.

    Args:
        path: of the file.
        is_mapped: arrays are views of the mapped file where they are contiguous: numbers are read when they
            are used, and not compared with their checksums.

    Raises:
        ValueError, KeyError, OSError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile: a damaged file.
    """
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        byte_order = f"{folder}byteorder"
        if byte_order in archive.namelist() and archive.read(byte_order) != b"little":
            raise ValueError("its numbers are big-endian")

        mapped = np.asarray(np.memmap(path, np.uint8, "r")) if is_mapped else None

        @functools.cache
        def storage(dtype: np.dtype, key: str, _: int) -> np.ndarray:
            name = f"{folder}data/{key}"
            if mapped is None:
                return np.frombuffer(archive.read(name), dtype)
            return _content(mapped, archive.getinfo(name)).view(dtype)

        with archive.open(pickled) as file:
            return TensorUnpickler(file, storage).load()


def _content(file: np.ndarray, entry: zipfile.ZipInfo) -> np.ndarray:
    """The bytes of an entry, which torch.save does not compress."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed")
    # The entry's own header: 30 bytes, then its name and an extra field, whose sizes are at 26.
    names = entry.header_offset + 30
    start = names + sum(struct.unpack("<HH", file[names - 4 : names].tobytes()))
    content = file[start : start + entry.file_size]
    if content.size < entry.file_size:
        raise ValueError(f"{entry.filename} reaches past the end of the file")
    return content
