"""Public checkpoints on disk: a file, or a folder as Hugging Face writes it with one or several files."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.checkpoints.damage import damage_named
from dualdub_jax.convert.torch_file import read_tensors
from dualdub_jax.errors import UserError

_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"
_WHOLE = ("model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin")
_CHUNK = 1 << 24


@dataclasses.dataclass(frozen=True)
class PublicCheckpoint:
    """A public checkpoint in memory.

    Attributes:
        where: its path, for messages.
        tensors: by name, floating-point ones as float32.
        config: its config.json; {} if it has none.
        preprocessor: its preprocessor_config.json; {} if it has none.
        files: the files with tensors.
    """

    where: str
    tensors: Mapping[str, np.ndarray]
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]
    files: tuple[pathlib.Path, ...]

    def source(self) -> dict[str, str]:
        """ "converted_from" and "sha256" of the files, in order."""
        digest = hashlib.sha256()
        for file in self.files:
            with file.open("rb") as opened:
                while block := opened.read(_CHUNK):
                    digest.update(block)
        return {"converted_from": ", ".join(file.name for file in self.files), "sha256": digest.hexdigest()}


def read_checkpoint(path: pathlib.Path) -> PublicCheckpoint:
    """Reads a file, or a folder with config.json.

    Raises:
        UserError: nothing is there, a file of a sharded checkpoint is missing, or one is damaged.
    """
    path = pathlib.Path(path)
    files = checkpoint_files(path) if path.is_dir() else (path,)
    folder = path if path.is_dir() else path.parent
    config, preprocessor = (_read_json(folder / name) for name in (_CONFIG, _PREPROCESSOR))
    tensors: dict[str, np.ndarray] = {}
    for file in files:
        tensors |= read_tensors(file)[0]
    return PublicCheckpoint(str(path), tensors, config, preprocessor, files)


def _read_json(file: pathlib.Path) -> Mapping[str, Any]:
    """A file's settings; {} if there is none."""
    if not file.is_file():
        return {}
    with damage_named(f"{file}: these settings", "download the file again"):
        settings = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(settings, Mapping):
        found = type(settings).__name__
        raise UserError(f"{file}: expected settings by name, got {found}; download it again")
    return settings


def checkpoint_files(folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """The files with tensors of a folder, by its index if it has one.

    Raises:
        UserError: there are none, or one that the index names is missing.
    """
    for name in _WHOLE:
        if (folder / name).is_file():
            return (folder / name,)
        index = folder / f"{name}.index.json"
        if index.is_file():
            with damage_named(f"{index}: this index", "download it again"):
                names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            # Only file names: a path must not lead out of the folder.
            files = tuple(folder / pathlib.PurePosixPath(name).name for name in names)
            missing = [file.name for file in files if not file.is_file()]
            if missing:
                raise UserError(f"{folder}: {', '.join(missing)} of {index.name} missing; download it again")
            return files
    raise UserError(f"{folder}: none of {', '.join(_WHOLE)} nor an index of them; name a checkpoint's folder")
