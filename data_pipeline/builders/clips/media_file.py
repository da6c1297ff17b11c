"""Where a source keeps a medium: a file, local or on a store, a member of a tar file, or a table's cell."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import store_errors
from dualdub_jax.stores.local_copy import local_copy
from dualdub_jax.stores.path import StorePath, is_remote

_HASHED_BYTES = 1 << 12  # of a file's beginning and of its end
_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class TarMember:
    """A file inside an uncompressed tar file.

    Attributes:
        shard: the tar file.
        offset: of the member's first byte.
        num_bytes: of the member.
        name: of the member.
    """

    shard: StorePath
    offset: int
    num_bytes: int
    name: str


@dataclasses.dataclass(frozen=True)
class Embedded:
    """The content of a file; `name` has its suffix."""

    data: bytes = dataclasses.field(repr=False)
    name: str = ""


MediaFile = StorePath | TarMember | Embedded


@contextlib.contextmanager
def as_local_files(media: Mapping[Any, MediaFile]) -> Iterator[dict[Any, pathlib.Path]]:
    """Local paths of media; what is no local file is copied to a temporary folder (`TMPDIR`) meanwhile.

    Raises:
        UserError: a file that is missing or cannot be copied.
    """
    with contextlib.ExitStack() as stack:
        paths, folder = {}, None
        for number, (name, medium) in enumerate(media.items()):
            if isinstance(medium, pathlib.Path):
                paths[name] = medium
                continue
            if folder is None:
                folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dualdub-")))
            # The name in errors is the source's own; the number keeps two equal ones apart.
            paths[name] = folder / str(number) / pathlib.PurePosixPath(_name(medium)).name
            paths[name].parent.mkdir()
            _copy(medium, paths[name])
        yield paths


def _name(medium: MediaFile) -> str:
    return medium.name or "medium"


def _copy(medium: MediaFile, target: pathlib.Path) -> None:
    if isinstance(medium, Embedded):
        target.write_bytes(medium.data)
    elif isinstance(medium, TarMember):
        with local_copy(medium.shard).open("rb") as shard, target.open("wb") as file:
            shard.seek(medium.offset)
            left = medium.num_bytes
            while left:
                block = shard.read(min(left, _BLOCK_BYTES))
                if not block:
                    raise UserError(f"{medium.shard}: ends inside of {medium.name}; copy the shard again")
                file.write(block)
                left -= len(block)
    else:
        with store_errors(medium):
            if not medium.is_file():
                raise UserError(f"{medium}: no such file")
            with medium.open("rb") as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, _BLOCK_BYTES)


def fingerprint(file: StorePath) -> str:
    """Of a file's size, beginning and end, since films are too long to be read for it.

    Returns:
        64 hexadecimal digits; "" if there is no such file, or a local one cannot be read.
    """
    try:
        return _fingerprint(file)
    except OSError:  # such as a name that is too long; whoever reads the file reports it
        return ""


def _fingerprint(file: StorePath) -> str:
    with store_errors(file):
        if not file.is_file():
            return ""
        size = file.stat().st_size if not is_remote(file) else file.stat().length
        digest = hashlib.sha256(str(size).encode())
        with file.open("rb") as opened:
            for position in (0, max(0, size - _HASHED_BYTES)):
                opened.seek(position)
                digest.update(opened.read(_HASHED_BYTES))
    return digest.hexdigest()


def printable(name: str) -> str:
    """A file's name as valid text, whatever bytes it has."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
