"""Folders and files that appear whole or not at all, on an object store folders by a commit marker.

A store has no rename. A folder is complete if it has a certain file, its marker, which is written last and
removed first: `config.json` of a bundle, `dataset_info.json` of a dataset, `sidecar.json` of a sidecar.
"""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import store_errors
from dualdub_jax.stores.libraries import file_system
from dualdub_jax.stores.path import StorePath, is_remote


def remove_folder(folder: StorePath, marker: str) -> None:
    """Removes a folder from a store, its marker first; a missing folder is none."""
    if not str(folder).partition("://")[2].partition("/")[2]:
        raise UserError(f"{folder}: is a whole bucket; name a folder in it, such as {folder}/NAME")
    with store_errors(folder):
        store = file_system(folder)
        found = store.find(str(folder))
        first = [name for name in found if name.endswith(f"/{marker}")]
        for names in (first, [name for name in found if name not in first]):
            if names:
                store.rm(names)


def move_folder(folder: StorePath, target: StorePath, marker: str) -> None:
    """Moves a folder of a store: its objects are copied, then removed, the marker first."""
    with store_errors(folder):
        store = file_system(folder)
        for name in store.find(str(folder)):
            relative = name.removeprefix(str(folder).partition("://")[2])
            store.copy(name, f"{target}{relative}")
    remove_folder(folder, marker)


@contextlib.contextmanager
def staged_folder(folder: StorePath, marker: str = "") -> Iterator[pathlib.Path]:
    """A local folder of which the files are added to `folder` at the end, the marker last.

    It is `folder` itself if that is local, or else a temporary one (`TMPDIR`).
    """
    if not is_remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="dualdub-") as name:
        staging = pathlib.Path(name)
        yield staging
        files = sorted(path for path in staging.rglob("*") if path.is_file())
        for path in sorted(files, key=lambda path: path.name == marker):
            upload_file(path, folder / path.relative_to(staging).as_posix())


def upload_file(source: pathlib.Path, target: StorePath) -> None:
    """Uploads a file; it appears whole or not at all."""
    with store_errors(target):
        file_system(target).put_file(str(source), str(target))


def write_whole(path: StorePath, data: bytes) -> None:
    """Writes a small file; it appears whole or not at all."""
    if is_remote(path):  # an object appears whole
        path.write_bytes(data)
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_bytes(data)
    temporary.replace(path)
