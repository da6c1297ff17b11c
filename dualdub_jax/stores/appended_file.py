"""A text file that grows by lines: on a local disk by appending, on an object store by uploading it again."""

import pathlib
import tempfile
from typing import IO

from dualdub_jax.stores.commit import upload_file
from dualdub_jax.stores.failures import store_errors
from dualdub_jax.stores.libraries import file_system
from dualdub_jax.stores.path import StorePath, is_remote


class AppendedFile:
    """Appends lines to a file, and goes on with one that is there.

    On a store, lines are appended to a local copy, which `flush` uploads. What another process has uploaded
    since then is kept: its lines come first.

    Args:
        path: of the file, in an existing folder.
    """

    def __init__(self, path: StorePath) -> None:
        self._path = path
        self._folder: tempfile.TemporaryDirectory | None = None
        self._pending = ""  # lines that are not uploaded yet
        self._uploaded_bytes = -1
        if is_remote(path):
            self._folder = tempfile.TemporaryDirectory(prefix="dualdub-")
            self._local = pathlib.Path(self._folder.name) / path.name
            self._take_stored()
        else:
            self._local = path
        _end_at_a_line(self._local)
        self._file: IO[str] = self._local.open("a", encoding="utf-8")

    def write(self, line: str) -> None:
        """Appends a line, given without its end."""
        self._file.write(line + "\n")
        self._file.flush()
        if self._folder:
            self._pending += line + "\n"

    def flush(self) -> None:
        """Uploads what was appended.

        Raises:
            UserError: the store fails.
        """
        if not self._pending:
            return
        if self._stored_bytes() not in (None, self._uploaded_bytes):
            self._file.close()
            self._take_stored()
            _end_at_a_line(self._local)
            self._file = self._local.open("a", encoding="utf-8")
            self._file.write(self._pending)
            self._file.flush()
        upload_file(self._local, self._path)
        self._uploaded_bytes, self._pending = self._local.stat().st_size, ""

    def close(self) -> None:
        """Uploads what was appended, and closes the file; raises as `flush`."""
        try:
            self.flush()
        finally:
            self._file.close()
            if self._folder:
                self._folder.cleanup()

    def _stored_bytes(self) -> int | None:
        """Size of the object; None without one."""
        with store_errors(self._path):
            try:
                return file_system(self._path).info(str(self._path))["size"]
            except FileNotFoundError:
                return None

    def _take_stored(self) -> None:
        if (size := self._stored_bytes()) is not None:
            with store_errors(self._path):
                file_system(self._path).get_file(str(self._path), str(self._local))
            self._uploaded_bytes = size


def _end_at_a_line(path: pathlib.Path) -> None:
    """Truncates an incomplete last line, left by a killed run."""
    if path.exists():
        with path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
