"""Paths that users name: on local disks, or on object stores by URL.

Every path of the command line, of a config and of the API goes through `as_path` or `as_local_path`. A local
path is a `pathlib.Path`, one of an object store an `etils.epath.Path`, which has the same methods with two
exceptions: stores cannot append and have no atomic renames (`commit.py`, `appended_file.py`).
"""

import importlib.util
import os
import pathlib
import re
from typing import TYPE_CHECKING, TypeAlias, Union

from dualdub_jax.errors import UserError

if TYPE_CHECKING:  # imported on use, since it would slow down `--help`
    from etils import epath

StorePath: TypeAlias = Union[pathlib.Path, "epath.Path"]

# Scheme -> the library through which its files are read.
STORES = {"gs": "gcsfs", "s3": "s3fs"}
_TAKEN = "DualDub takes local paths, gs://BUCKET/… and s3://BUCKET/…"
_SCHEME = re.compile(r"\s*(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<slashes>/*)")
_DRIVE = re.compile(r"\s*[A-Za-z]:[\\/]")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
# Libraries read these as patterns, queries or fragments, and would address other objects.
_SPECIAL = re.compile(r"[*?\[\]#\\\x00-\x1f]")


def as_path(where: str | os.PathLike[str], name: str = "") -> StorePath:
    """The path that a user names.

    Args:
        where: a local path, `gs://BUCKET/…` or `s3://BUCKET/…`.
        name: of the option or config key, for messages; empty where the caller's own message names it.

    Raises:
        UserError: another scheme, a malformed URL, a Windows path, or a store whose library is not installed.
    """
    text = os.fspath(where)
    label = f"{name}={text}" if name else text
    scheme = _scheme(text, label)
    if scheme is None:
        return pathlib.Path(where)
    from dualdub_jax.stores.libraries import prepare

    bucket, _, key = text.strip().removeprefix(f"{scheme}://").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UserError(f"{label}: {bucket!r} is no name of a bucket; give {scheme}://BUCKET/FOLDER")
    folders = key.rstrip("/").split("/") if key else []
    if _SPECIAL.search(key) or {"", ".", ".."} & set(folders):
        raise UserError(
            f"{label}: on an object store, names are without *, ?, [, ], #, \\ and control characters, and "
            "no folder is empty, '.' or '..'; write the whole name"
        )
    library = STORES[scheme]
    if importlib.util.find_spec(library) is None:
        raise UserError(f"{label}: needs the package {library}; pip install 'dualdub-jax[stores]'")
    prepare(scheme)
    from etils import epath

    return epath.Path(text.strip())


def as_local_path(where: str | os.PathLike[str], name: str = "") -> pathlib.Path:
    """A path of a file that must be on a local disk, such as a film.

    Raises:
        UserError: a URL, or a Windows path.
    """
    text = os.fspath(where)
    if "://" in text or re.match(rf"\s*({'|'.join(STORES)}):", text, re.IGNORECASE):
        prefix = f"{name}: " if name else ""
        raise UserError(
            f"{prefix}expected the path of a local file, got {text}; copy it to this machine first"
        )
    _scheme(text, text)
    return pathlib.Path(where)


def is_remote(path: StorePath) -> bool:
    """Whether a path is on an object store."""
    return not isinstance(path, pathlib.Path)


def absolute(path: StorePath) -> StorePath:
    """The path from the root; URLs are as they are."""
    return path if is_remote(path) else path.absolute()


def find_files(folder: StorePath, name: str) -> list[StorePath]:
    """All files called `name` at or below a folder, sorted; `name` may be "*"."""
    if not is_remote(folder):
        return sorted(path for path in folder.rglob(name) if path.is_file())
    from dualdub_jax.stores.libraries import file_system

    scheme = str(folder).partition("://")[0]
    found = file_system(folder).find(str(folder))
    return sorted(
        type(folder)(f"{scheme}://{path}") for path in found if name in ("*", path.rpartition("/")[2])
    )


def _scheme(text: str, label: str) -> str | None:
    """The scheme of a URL of a store; None for a local path."""
    if _DRIVE.match(text):
        raise UserError(f"{label}: is a Windows path; {_TAKEN}")
    match = _SCHEME.match(text)
    if match is None or not (match["slashes"] or match["scheme"].lower() in STORES):
        if "://" in text:
            raise UserError(f"{label}: is neither a local path nor a URL; {_TAKEN}")
        return None
    scheme = match["scheme"]
    if scheme.lower() in STORES and (scheme not in STORES or match["slashes"] != "//"):
        raise UserError(
            f"{label}: write {scheme.lower()}:// in lower case and with two slashes (in Python as a string, "
            "since pathlib drops one of them)"
        )
    if scheme not in STORES:
        raise UserError(f"{label}: {scheme}:// is not taken; {_TAKEN}")
    return scheme
