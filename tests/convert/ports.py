"""Golden runs of public models, and the files that their weights come in."""

import collections
import functools
import io
import pathlib
import pickle
import sys
import types
import zipfile

import numpy as np

# What no tensor of the golden codecs and image towers tells: their config.json.
MIMI_SETTINGS = {
    "sampling_rate": 1200,
    "num_attention_heads": 3,
    "head_dim": 8,
    "sliding_window": 5,
}
SETTINGS = {
    "wavtokenizer": {"sampling_rate": 2400, "decoder_attention_num_groups": 8},
    "dac": {"sampling_rate": 3000},
    "mimi": MIMI_SETTINGS,
    "oobleck": {"sampling_rate": 4800},
    "clip": {"num_attention_heads": 3},
    "siglip": {"num_attention_heads": 3},
}

_GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
    arrays = {}
    for name in ("ports.npz", "metrics.npz", "moshi.npz"):
        with np.load(_GOLDEN / name) as file:
            arrays |= {key: file[key] for key in file.files}
    return arrays


def weights(model: str) -> dict[str, np.ndarray]:
    """The public state dict of a model."""
    prefix = f"{model}/weights/"
    return {name.removeprefix(prefix): x for name, x in _arrays().items() if name.startswith(prefix)}


def golden(model: str, name: str) -> np.ndarray:
    """An input or output of the original code."""
    return _arrays()[f"{model}/{name}"]


def write_torch_file(path: pathlib.Path, content: object, *, is_legacy: bool = False) -> None:
    """Writes what `torch.save` writes for nested containers of arrays, without torch.

    Args:
        path: the file.
        content: of containers, arrays, and objects of any class.
        is_legacy: as PyTorch before 1.6 did.
    """
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    names = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage", "bool":
             "BoolStorage", "bfloat16": "BFloat16Storage", "uint8": "ByteStorage"}  # fmt: skip
    for name in names.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def rebuild(*arguments: object) -> None: ...

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = torch._utils = rebuild
    storages: list[np.ndarray] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            if not isinstance(value, _Storage):
                return None
            storages.append(value.array)
            kind = getattr(torch, names[str(value.array.dtype)])
            key = ("storage", kind, str(len(storages) - 1), "cpu", value.array.size)
            return (*key, None) if is_legacy else key

        def reducer_override(self, value: object) -> object:
            if not isinstance(value, np.ndarray):
                return NotImplemented
            stride = tuple(s // value.itemsize for s in np.empty(value.shape, value.dtype).strides)
            hooks = collections.OrderedDict()
            return rebuild, (_Storage(value.ravel()), 0, value.shape, stride, False, hooks)

    with _modules({"torch": torch, "torch._utils": utils}):
        pickled = io.BytesIO()
        Pickler(pickled, protocol=2).dump(content)
    if is_legacy:
        machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
        parts = [*(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, machine)), pickled.getvalue()]
        parts.append(pickle.dumps([str(i) for i in range(len(storages))], 2))
        parts += [array.size.to_bytes(8, "little") + array.tobytes() for array in storages]
        path.write_bytes(b"".join(parts))
        return
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        archive.writestr("archive/byteorder", "little")
        for i, array in enumerate(storages):
            archive.writestr(f"archive/data/{i}", array.tobytes())


class _Storage:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array


class _modules:
    """Modules that exist while a pickle is written."""

    def __init__(self, modules: dict[str, types.ModuleType]) -> None:
        self._modules = modules

    def __enter__(self) -> None:
        self._before = {name: sys.modules.get(name) for name in self._modules}
        sys.modules.update(self._modules)

    def __exit__(self, *_: object) -> None:
        for name, module in self._before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
