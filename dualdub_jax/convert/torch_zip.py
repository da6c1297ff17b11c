"""Tensors of a file of `torch.save`, as NumPy arrays: without torch, and without running code in the file.

Such a file is a zip archive of a pickle and of one raw file a storage. The pickle is read by an unpickler
that knows tensors and plain containers; everything else in it (hyperparameters, optimizer classes) becomes an
inert placeholder, whatever it is called with. Source: the format of `torch/serialization.py`, PyTorch 1.6 and
later.
"""

import collections
import pathlib
import pickle
import zipfile
from typing import Any

import ml_dtypes
import numpy as np

_STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class Inert:
    """Stands for an object of any class in a pickle, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None:
        """Called for items of a pickled list subclass."""

    def extend(self, values: Any) -> None:
        """Called for items of a pickled list subclass."""


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
        with archive.open(pickled) as file:
            return _TensorUnpickler(file, archive, folder).load()


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file, encoding="utf-8")
        self._archive, self._folder = archive, folder
        self._read: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        return Inert

    def persistent_load(self, key: Any) -> np.ndarray:
        kind, dtype, name, _, count = key
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"storage of unknown type {key!r}")
        if name not in self._read:
            self._read[name] = np.frombuffer(self._archive.read(f"{self._folder}data/{name}"), dtype)
        if self._read[name].size < count:
            raise ValueError(f"storage {name} has {self._read[name].size} numbers, expected {count}")
        return self._read[name]


def _tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *rest: Any) -> np.ndarray:
    """A view of a storage; strides count numbers."""
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if all(size) else offset
    if offset < 0 or min(stride, default=0) < 0 or (all(size) and last >= storage.size):
        raise ValueError(f"a tensor of {list(size)} reaches past its storage of {storage.size} numbers")
    strides = [s * storage.itemsize for s in stride]
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(storage[offset:], size, strides)).reshape(
        size
    )


def _parameter(data: np.ndarray, *rest: Any) -> np.ndarray:
    return data
