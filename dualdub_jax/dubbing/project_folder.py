"""The folder of a project: where its files are, and how they are made and read.

    project.json                     request, inputs, film, cues, windows, takes, gains, warnings
    strip.png                        thumbnails of the film, side by side
    inputs/script.srt, voice.wav     copies of the inputs except the film, of up to 64 MB
    takes/take_001.npz               tokens, seed, settings
    takes/take_001/window_0001.npz   tokens of one window, while the take is generated
    tracks/take_001/speech.wav       16-bit, exactly as long as the film; likewise background.wav and mix.wav

A file appears under its name when it is complete and on the disk, so that a process may be killed at any
moment. No name in the folder depends on where the folder is.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import soundfile

from dualdub_jax.errors import UserError
from dualdub_jax.media.outputs import Outputs, explain_errors
from dualdub_jax.stores.path import as_local_path

VERSION = 2  # of the format; version 1 had none in its file
_KIND = "dualdub project"
_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part")  # files that `Outputs` is writing
_DECODED = ".decoded"  # suffix of tracks before they are mixed
# What damaged JSON, pictures, sounds and archives raise when they are read.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, soundfile.SoundFileError),
    *(ValueError, KeyError, TypeError, AttributeError, EOFError, OverflowError),
)


class ProjectFolder:
    """An existing folder.

    Attributes:
        path: of the folder.
        is_temporary: made for this process alone.
    """

    def __init__(self, path: pathlib.Path, is_temporary: bool = False) -> None:
        self.path, self.is_temporary = path, is_temporary
        self._lock: int | None = None  # descriptor of the folder

    @classmethod
    def make(cls, path: pathlib.Path | str | None, may_exist: bool = False) -> "ProjectFolder":
        """Makes a folder.

        Args:
            path: new or empty; None: a temporary folder.
            may_exist: the folder may also hold a project.

        Raises:
            UserError: the folder is in use or cannot be made.
        """
        if path is None:
            return cls(pathlib.Path(tempfile.mkdtemp(prefix="dualdub-")), is_temporary=True)
        path = as_local_path(path)
        try:
            if path.exists() and not path.is_dir():
                raise UserError(f"{path}: is in use; give a new or an empty folder for the project")
            path.mkdir(exist_ok=True)
            used = [name for name in os.listdir(path) if not _PART.fullmatch(name)]
        except OSError as error:
            raise UserError(
                f"{path}: cannot be made ({error.strerror}); choose another place for the project"
            ) from None
        folder = cls(path)
        if used and not (may_exist and folder.document.exists()):
            hint = "; to continue this one, add --resume" if folder.document.exists() else ""
            raise UserError(f"{path}: is in use; give a new or an empty folder for the project{hint}")
        return folder

    @property
    def document(self) -> pathlib.Path:
        """The file that describes the project."""
        return self.path / "project.json"

    @property
    def strip(self) -> pathlib.Path:
        """The thumbnails."""
        return self.path / "strip.png"

    def input(self, name: str) -> pathlib.Path:
        """The copy of an input."""
        return self.path / "inputs" / name

    def take(self, number: int) -> pathlib.Path:
        """The tokens of a finished take."""
        return self.path / "takes" / f"take_{number:03d}.npz"

    def window(self, take: int, index: int) -> pathlib.Path:
        """The tokens of one window of an unfinished take; `index` is from 0."""
        return self.path / "takes" / f"take_{take:03d}" / f"window_{index + 1:04d}.npz"

    def track(self, take: int, name: str) -> pathlib.Path:
        """A finished track of a take."""
        return self.path / "tracks" / f"take_{take:03d}" / f"{name}.wav"

    def decoded(self, name: str) -> pathlib.Path:
        """A decoded track, until it is mixed."""
        return self.path / f"{name}{_DECODED}"

    def lock(self) -> None:
        """Keeps other processes out until `unlock`, or until this process ends.

        What a process that was killed has left half-written is removed.

        Raises:
            UserError: another process works in the folder.
        """
        if self._lock is not None:
            return
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.unlock()
            raise UserError(
                f"{self.path}: another process is working on this project; wait for it, or choose "
                "another folder"
            ) from None
        if self.document.exists():
            parts = (path for path in self.path.rglob(".*") if _PART.fullmatch(path.name))
            for path in [*parts, *self.path.glob(f"*{_DECODED}")]:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out of a folder that is not temporary; errors as of `lock`."""
        is_new = self._lock is None and not self.is_temporary
        if is_new:
            self.lock()
        try:
            yield
        finally:
            if is_new:
                self.unlock()

    def unlock(self) -> None:
        """Lets other processes in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_document(self, document: Mapping[str, Any]) -> None:
        """Replaces `project.json`.

        Raises:
            UserError: it cannot be written.
        """
        described = {"kind": _KIND, "version": VERSION, **document}
        with writing(self.document) as file:
            file.write(json.dumps(described, indent=2, default=str).encode())

    def read_document(self) -> dict[str, Any]:
        """Reads `project.json`.

        Raises:
            UserError: there is none, it is damaged, or is of another version of the format.
        """
        path = self.document
        if not path.is_file():
            raise UserError(
                f"{self.path}: is not a project, for it has no project.json; name the folder that was given "
                "as --project"
            )
        with reading(path):
            document = json.loads(path.read_text(encoding="utf-8"))
            version = document.get("version", 1)
        if document.get("kind", _KIND) != _KIND or version != VERSION:
            raise UserError(
                f"{path}: is of version {version} of the format and this DualDub reads version {VERSION}; "
                "use the DualDub that made it, or dub the film anew"
            )
        return document


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file that appears, or replaces an older one, when it is complete; its folders are made.

    Raises:
        UserError: it cannot be written.
    """
    with Outputs() as outputs:
        with explain_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with outputs.open(path) as file:
            yield file
        outputs.commit()


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
    """Turns what a damaged file of a project causes into an error that names it.

    Raises:
        UserError: an exception inside, or the file cannot be read.
    """
    try:
        yield
    except _DAMAGE as error:
        raise UserError(
            f"{path}: is damaged ({' '.join(str(error).split()) or type(error).__name__}); restore it from a "
            "copy of the project, or dub the film anew into another folder"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); restore it from a copy of the project, or "
            "dub the film anew into another folder"
        ) from error


def save_arrays(path: pathlib.Path, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an `.npz` file of arrays, with settings as JSON beside them.

    Raises:
        UserError: it cannot be written.
    """
    with writing(path) as file:
        np.savez_compressed(file, settings=json.dumps(settings), **arrays)


def load_arrays(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads what `save_arrays` wrote: settings and arrays.

    Raises:
        UserError: it is missing or damaged.
    """
    with reading(path), np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
        return json.loads(str(arrays.pop("settings"))), arrays
