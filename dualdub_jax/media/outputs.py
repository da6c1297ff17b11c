"""All files of one job, or none: written under temporary names, renamed when every one is complete."""

import contextlib
import errno
import glob
import os
import pathlib
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import BinaryIO

from dualdub_jax.errors import UserError
from dualdub_jax.media import leftovers
from dualdub_jax.stores.failures import reached
from dualdub_jax.stores.path import StorePath, is_remote


def check_outputs(outputs: Iterable[pathlib.Path], inputs: Iterable[pathlib.Path]) -> None:
    """Checks, before any work, that all outputs can be written and none overwrites an input.

    Args:
        outputs: files to be written; each one's folder must exist.
        inputs: files that are read.

    Raises:
        UserError: an output is a folder, lies in no folder or in one that cannot be written, is named
            twice, or is one of the inputs.
    """
    outputs = list(outputs)
    check_names(outputs, inputs)
    for path in outputs:
        with explain_errors(path):
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise UserError(f"{path}: is a device or a pipe; give the name of a file")
            _exists(path)  # finds a name that is too long
            temporary = _temporary(path)
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            temporary.unlink()


def check_names(outputs: Iterable[pathlib.Path], inputs: Iterable[pathlib.Path]) -> None:
    """Checks the names alone: every output has one of its own, which is no input's.

    Raises:
        UserError: an output is named twice, or is one of the inputs.
    """
    seen: set[str] = set()
    originals = {os.path.realpath(path) for path in inputs}
    for path in outputs:
        resolved = os.path.realpath(path)
        if resolved in seen:
            raise UserError(f"{path}: named for two outputs; give each output a name of its own")
        if resolved in originals:
            raise UserError(f"{path}: is an input and would be overwritten; give another output name")
        seen.add(resolved)


def check_folder(folder: StorePath, option: str) -> None:
    """Checks, before any work, that a folder can be made, with its parents, or written to; it is not made.

    Args:
        folder: need not exist; local or on an object store.
        option: of the command line, for the message.

    Raises:
        UserError: a file is in its way, or its place cannot be written; a store that is not reached.
    """
    if is_remote(folder):
        reached(folder)
        return
    ancestor = folder.absolute()
    try:
        while not _exists(ancestor):
            ancestor = ancestor.parent
        with tempfile.TemporaryFile(dir=ancestor):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another {option}") from None


class Outputs:
    """Collects the files of one job; a context manager.

    Leaving it without `commit`, for an error or for Ctrl-C, removes everything that was written.

    Example:
        with Outputs() as outputs:
            with outputs.open(path) as file:
                file.write(data)
            outputs.commit()
    """

    def __init__(self) -> None:
        self._temporaries: dict[pathlib.Path, pathlib.Path] = {}
        self._new_folders: list[pathlib.Path] = []

    def __enter__(self) -> "Outputs":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for temporary in self._temporaries.values():
            temporary.unlink(missing_ok=True)
            leftovers.discard(temporary)
        for folder in reversed(self._new_folders):
            with contextlib.suppress(OSError):  # not empty: in use by others
                folder.rmdir()

    def make_folder(self, folder: pathlib.Path) -> None:
        """Makes a folder (not its parents), if it is not there yet.

        Raises:
            UserError: it cannot be made.
        """
        if folder.is_dir():
            return
        with explain_errors(folder):
            folder.mkdir()
        self._new_folders.append(folder)

    @contextlib.contextmanager
    def open(self, path: pathlib.Path) -> Iterator[BinaryIO]:
        """Opens the temporary file that will become `path`, for reading and writing.

        Raises:
            UserError: it cannot be opened, or the disk is full; also for errors while the file is open.
        """
        with explain_errors(path):
            temporary = _temporary(path)
            self._temporaries[path] = temporary
            leftovers.add(temporary)
            with temporary.open("x+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # some file systems report a full disk only now

    @property
    def sizes(self) -> dict[pathlib.Path, int]:
        """Bytes of all files that have been written and not yet renamed."""
        return {path: temporary.stat().st_size for path, temporary in self._temporaries.items()}

    def read(self, path: pathlib.Path) -> bytes:
        """Content of a file that has been written and not yet renamed."""
        return self._temporaries[path].read_bytes()

    def commit(self) -> None:
        """Gives all files their names, replacing older files.

        Raises:
            UserError: a file cannot be renamed.
        """
        try:
            self._rename_all()
        except KeyboardInterrupt:
            self._rename_all()  # between two files it comes too late
            raise

    def _rename_all(self) -> None:
        for path, temporary in self._temporaries.items():
            if temporary.exists():
                with explain_errors(path):
                    temporary.replace(path)
            leftovers.discard(temporary)
        self._temporaries.clear()
        self._new_folders.clear()


def remove_partial(path: pathlib.Path) -> None:
    """Removes temporary files of `path` that a killed process has left; no other process may write it."""
    pattern = _temporary(path).name.rsplit(".", 2)[0]
    with contextlib.suppress(OSError):
        for file in path.parent.glob(f"{glob.escape(pattern)}.????????.part"):
            file.unlink(missing_ok=True)


def _exists(path: pathlib.Path) -> bool:
    """Whether there is something of that name; raises OSError for a name that is too long."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _temporary(path: pathlib.Path) -> pathlib.Path:
    """A hidden name in the same folder, so that renaming never copies; at most 255 bytes, as any name."""
    name = os.fsdecode(os.fsencode(path.name)[:80])
    return path.with_name(f".{name}.{secrets.token_hex(4)}.part")


@contextlib.contextmanager
def explain_errors(path: pathlib.Path) -> Iterator[None]:
    """Turns file system errors about `path` into errors that the user can correct; a context manager."""
    try:
        if path.is_dir() and not path.is_symlink():
            raise UserError(f"{path}: is a folder; give the name of a file")
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{path}: the disk is full and nothing was written; free some space or write elsewhere"
            ) from error
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(
                f"{path}: the name is too long for this file system; give a shorter one"
            ) from error
        if error.errno == errno.ENOENT:
            raise UserError(f"{path}: there is no folder {path.parent}; make it first") from error
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place"
        ) from error
