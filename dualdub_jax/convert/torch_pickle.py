"""Unpickles tensors as NumPy arrays, without torch, and without running code in the file.

The unpickler knows tensors and plain containers; everything else in a checkpoint (hyperparameters, optimizer
classes) becomes an inert placeholder, whatever it is called with. Source: the format of
`torch/serialization.py`.
"""

import collections
import pickle
from collections.abc import Callable
from typing import Any, BinaryIO

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


class TensorUnpickler(pickle.Unpickler):
    """Reads one pickle of `torch.save`; its tensors are NumPy arrays, objects of other classes `Inert`.

    Args:
        file: at the pickle's first byte.
        storage: dtype, key, number of elements -> the storage, 1-D; may be longer.
    """

    def __init__(self, file: BinaryIO, storage: Callable[[np.dtype, str, int], np.ndarray]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage = storage

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

    def persistent_load(self, key: Any) -> np.ndarray | None:
        kind, *rest = key
        if kind == "module":  # of whole pickled modules before 1.6, with its source text
            return Inert
        dtype, name, _, count, *view = rest
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"storage of unknown type {key!r}")
        found = self._storage(dtype, str(name), count)
        if found.size < count:
            raise ValueError(f"storage {name} has {found.size} numbers, expected {count}")
        if view and view[0] is not None:
            _, offset, size = view[0]
            found = found[offset : offset + size]
        return found


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
