"""What a builder has made of each item, on disk until the dataset is written: a killed build goes on there.

One file for each item, whole or absent. A file holds the item's records and what was dropped of it, in order:
for each a JSON line (fields, or lengths of those that are bytes), then the bytes. Source: our choice.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import io
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

from dualdub_jax.data_pipeline.builders.base import Dropped
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.errors import UserError
from dualdub_jax.stores.commit import remove_folder, upload_file
from dualdub_jax.stores.failures import store_errors
from dualdub_jax.stores.path import StorePath, is_remote

Made = Record | Dropped

FOLDER = ".building"  # in the folder of datasets
_DIGITS = 16  # of a recipe's hash, at the end of a folder's name


@dataclasses.dataclass(frozen=True)
class ItemSpool:
    """The made items of one build; it may be sent to other processes and machines that see its folder.

    Attributes:
        folder: where they are, local or on an object store.
    """

    folder: StorePath

    @classmethod
    def of_build(cls, out_dir: StorePath, label: str, recipe: Any) -> "ItemSpool":
        """The spool of a dataset's build; another recipe has another one."""
        digest = hashlib.sha256(json.dumps([label, recipe], sort_keys=True).encode()).hexdigest()[:_DIGITS]
        return cls(out_dir / FOLDER / f"{label.replace('/', '-')}-{digest}")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While open, no other build works with the same spool; of one on a store, nothing is checked.

        Raises:
            UserError: another build does.
        """
        if is_remote(self.folder):
            yield
            return
        path = self.folder.with_name(f"{self.folder.name}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    raise UserError(
                        f"{path.parent.parent}: another process builds the same dataset there; wait until it "
                        "has finished, or end it"
                    ) from error
                # else a disk without locks
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # holds other builds
                    path.parent.rmdir()

    def has(self, split: str, number: int) -> bool:
        """Whether an item has been made."""
        return self._path(split, number).is_file()

    def write(self, split: str, number: int, made: Iterable[Made]) -> None:
        """Writes an item, one record in memory at a time; it is there whole or not at all."""
        path = self._path(split, number)
        if not is_remote(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(path.with_name(f"{path.name}.{os.getpid()}.part"), made, path)
            return
        with tempfile.TemporaryDirectory(prefix="dualdub-") as folder:
            local = pathlib.Path(folder) / path.name
            _write(local, made)
            upload_file(local, path)

    def read(self, split: str, number: int) -> Iterator[Made]:
        """What an item has given, one by one."""
        path = self._path(split, number)
        with store_errors(path), path.open("rb") as file:
            while line := file.readline():
                yield _decode(json.loads(line), file)

    def remove(self) -> None:
        """Removes all items when the dataset is there, also those of killed builds with other recipes."""
        for folder in self.folder.parent.glob(f"{self.folder.name[:-_DIGITS]}{'?' * _DIGITS}"):
            if is_remote(folder):
                remove_folder(folder, "")
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def _path(self, split: str, number: int) -> StorePath:
        return self.folder / f"{split}-{number:08d}.records"


def _write(path: pathlib.Path, made: Iterable[Made], target: pathlib.Path | None = None) -> None:
    try:
        with path.open("wb") as file:
            for each in made:
                _encode(each, file)
        if target is not None:
            path.replace(target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _encode(made: Made, file: IO[bytes]) -> None:
    if isinstance(made, Dropped):
        file.write(json.dumps({"dropped": dataclasses.asdict(made)}).encode() + b"\n")
        return
    lengths = {name: len(value) for name, value in made.items() if isinstance(value, bytes)}
    fields = {name: value for name, value in made.items() if name not in lengths}
    # Builders may give NumPy's numbers.
    head = json.dumps({"fields": fields, "bytes": lengths}, default=lambda value: value.item())
    file.write(head.encode() + b"\n")
    for name in lengths:
        file.write(made[name])


def _decode(head: dict[str, Any], file: io.BufferedIOBase) -> Made:
    if "dropped" in head:
        return Dropped(**head["dropped"])
    return {**head["fields"], **{name: file.read(length) for name, length in head["bytes"].items()}}
