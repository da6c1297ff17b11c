"""Local copies of objects, for libraries that read local files only: ArrayRecord, safetensors, tokenizers.

Copies are kept in `$XDG_CACHE_HOME/dualdub/stores` (default: `~/.cache`), in a folder for each content:
changed objects are copied again, and a process never replaces a file that another one reads.
"""

import hashlib
import os
import pathlib
import sys

from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import store_errors
from dualdub_jax.stores.libraries import file_system
from dualdub_jax.stores.path import StorePath, is_remote

# What identifies an object's content: GCS's generation, S3's ETag.
_IDENTITY = ("generation", "ETag", "size")
_ANNOUNCED_BYTES = 10**6


def local_copy(path: StorePath, pattern: str = "") -> pathlib.Path:
    """The path itself if it is local, or else the path of a local copy.

    Args:
        path: of a file, or of a folder.
        pattern: of a folder, copy only files of which the name contains this text; not those of its
            sub-folders.

    Returns:
        The local file, or a folder with the files.

    Raises:
        UserError: the store fails, or the local disk cannot hold the copy.
    """
    if not is_remote(path):
        return path
    with store_errors(path):
        store = file_system(path)
        infos = {info["name"].rpartition("/")[2]: info for info in _files(store, path)}
        identity = [
            (name, *(str(info.get(key)) for key in _IDENTITY)) for name, info in sorted(infos.items())
        ]
        folder = _root() / hashlib.sha256(repr((str(path), identity)).encode()).hexdigest()[:24]
        missing = [name for name in infos if pattern in name and not (folder / name).is_file()]
        num_bytes = sum(infos[name]["size"] for name in missing)
        if num_bytes >= _ANNOUNCED_BYTES:
            print(f"{path}: copying {num_bytes / 1e6:,.0f} MB to {folder}", file=sys.stderr, flush=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _disk_error(path, folder, error) from error
        for name in missing:
            _fetch(store, infos[name]["name"], folder / name, path)
    return folder / path.name if list(infos) == [path.name] else folder


def _files(store: object, path: StorePath) -> list[dict]:
    """The file itself, or the files directly in a folder."""
    return [
        info
        for info in store.ls(str(path), detail=True)
        if info["type"] == "file" and info["size"] is not None
    ]


def _fetch(store: object, name: str, target: pathlib.Path, path: StorePath) -> None:
    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        store.get_file(name, str(temporary))
        temporary.replace(target)
    except OSError as error:
        if error.filename is not None or error.errno is not None:
            raise _disk_error(path, target.parent, error) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _disk_error(path: StorePath, folder: pathlib.Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be copied to {folder} ({error.strerror or error}); make room, or set "
        "XDG_CACHE_HOME to a folder on another disk"
    )


def _root() -> pathlib.Path:
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "dualdub" / "stores"
