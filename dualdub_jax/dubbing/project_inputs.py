"""The inputs of a kept project: known by their digests, and found again where the project was moved.

Script and voice are copied into the project. The film stays where it is: its path, also relative to the
project, is tried first, then its name beside the project.
"""

import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from dualdub_jax.dubbing.project_folder import ProjectFolder, reading, writing
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError
from dualdub_jax.stores.digests import describe_file, file_sha256

_MOST_COPIED_BYTES = 64_000_000
Records = Mapping[str, Mapping[str, Any]]


def describe_inputs(folder: ProjectFolder, request: DubRequest) -> dict[str, dict[str, Any]]:
    """Describes the files that a request reads, by the name of its field.

    Returns:
        For each file its path, SHA-256 and length; "relative": its path from the project; "copy": the name of
        its copy in the project, or None.
    """
    records = {}
    for number, (name, path) in enumerate(request.files.items()):
        path = path.absolute()
        record = describe_file(path)
        is_copied = name != "video" and record["bytes"] <= _MOST_COPIED_BYTES
        records[name] = record | {
            "relative": os.path.relpath(path, folder.path.absolute()),
            # Names of speakers may be no names of files.
            "copy": f"{name if name.isascii() and name.isalpha() else f'voice_{number}'}{path.suffix}"
            if is_copied
            else None,
        }
    return records


def copy_inputs(folder: ProjectFolder, request: DubRequest, records: Records) -> None:
    """Copies what shall be in the project.

    Raises:
        UserError: a copy cannot be written.
    """
    for name, path in request.files.items():
        copy = records[name]["copy"]
        if copy is not None and not folder.input(copy).exists():
            with path.open("rb") as source, writing(folder.input(copy)) as file:
                shutil.copyfileobj(source, file)


def find_inputs(
    folder: ProjectFolder, records: Records, video: pathlib.Path | None = None
) -> dict[str, pathlib.Path]:
    """Finds the files of a kept project.

    Args:
        folder: of the project, where it is now.
        records: of `describe_inputs`.
        video: where the film is now; None: to be found.

    Returns:
        A path for each name.

    Raises:
        UserError: a file is missing, or is not the one that was read.
    """
    return {
        name: _find(folder, name, record, video if name == "video" else None)
        for name, record in records.items()
    }


def rename_sounds(records: Records, was: Iterable[str], now: Iterable[str]) -> dict[str, Any]:
    """The records of an opened project, in which kept sounds have the paths of their copies for names.

    Args:
        records: as they were saved.
        was: the names in `keep_original` of the saved request.
        now: those of the opened one, in the same order.
    """
    names = {f"keep_original {old}": f"keep_original {new}" for old, new in zip(was, now, strict=True)}
    return {names.get(name, name): record for name, record in records.items()}


def _find(
    folder: ProjectFolder, name: str, record: Mapping[str, Any], given: pathlib.Path | None
) -> pathlib.Path:
    with reading(folder.document):
        path, relative, copy = pathlib.Path(record["path"]), record["relative"], record["copy"]
        sha256, num_bytes = record["sha256"], record["bytes"]
    if given is not None:
        places = [given]
    elif copy is not None:
        places = [folder.input(pathlib.Path(copy).name)]
    else:
        beside = [folder.path / path.name, folder.path.absolute().parent / path.name]
        places = [pathlib.Path(os.path.normpath(folder.path / relative)), path, *beside]
    found = [place for place in dict.fromkeys(places) if place.is_file()]
    for place in found:
        if place.stat().st_size == num_bytes and file_sha256(place) == sha256:
            return place
    if found:
        raise UserError(
            f"{found[0]}: is not the {name} of the project {folder.path} any more (its SHA-256 differs); "
            + _mend(name)
        )
    raise UserError(f"{places[0]}: the {name} of the project {folder.path} is not there; " + _mend(name))


def _mend(name: str) -> str:
    if name == "video":
        return "name the film that was dubbed: dualdub dub FILM --project PROJECT …"
    return "put the file back, or dub the film anew into another folder"
