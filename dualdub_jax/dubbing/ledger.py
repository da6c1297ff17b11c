"""The record of a run over many films, from which the next one goes on.

    DIR/done.jsonl        a line for each finished film, appended once its files are in place
    DIR/failures.jsonl    a line for each film of the last run that failed: line, video, error

A film is done if its record is that of the same line, settings, inputs (by size and time of change),
checkpoint and version, no later film has written its files, and they are still there with the same sizes.
Everything else is done again.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dualdub_jax import __version__
from dualdub_jax.dubbing.manifest import FilmLine, input_files
from dualdub_jax.errors import UserError
from dualdub_jax.media.outputs import explain_errors

DONE, FAILURES, WORK, LOCK = "done.jsonl", "failures.jsonl", ".work", ".lock"


def line_digest(line: FilmLine, setup: Mapping[str, Any]) -> str:
    """Hex digest of all that the result of a line depends on.

    Args:
        line: of the manifest.
        setup: what all lines share, such as the checkpoint's digest; JSON-serialisable.
    """
    inputs = [_stamp(path) for path in input_files(line.settings)]
    text = json.dumps([line.raw, inputs, dict(setup), __version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _stamp(path: pathlib.Path) -> list[Any] | None:
    """Size and time of change; None for text that is no file's name, and for a missing file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns]


@dataclasses.dataclass(frozen=True)
class Part:
    """Which lines a process takes: line `index` of every `count`, from 1."""

    index: int = 1
    count: int = 1

    @property
    def suffix(self) -> str:
        """Of the names of the files that every process has for itself."""
        return "" if self.count == 1 else f".{self.index}-of-{self.count}"

    def of(self, lines: list[FilmLine]) -> list[FilmLine]:
        return lines[self.index - 1 :: self.count]


class Ledger:
    """The record of a folder; made by `open_ledger`.

    Attributes:
        work: a folder for unfinished projects, by digest.
        failures: path of the failures of this run; absent if there are none.
    """

    def __init__(self, folder: pathlib.Path, part: Part) -> None:
        self.work = folder / f"{WORK}{part.suffix}"
        self.failures = folder / f"failures{part.suffix}.jsonl"
        self._folder, self._done = folder.absolute(), folder / DONE
        self._sizes: dict[str, dict[str, int]] = {}  # by digest, those of the film's files
        for digest, sizes in _entries(self._done):
            self._remember(digest, sizes)

    def _remember(self, digest: str, sizes: dict[str, int]) -> None:
        self._sizes = {d: known for d, known in self._sizes.items() if not known.keys() & sizes.keys()}
        self._sizes[digest] = sizes

    def is_done(self, digest: str) -> bool:
        """Whether a film is recorded and all its files are there."""
        sizes = self._sizes.get(digest)
        return sizes is not None and all(_size(self._folder / name) == size for name, size in sizes.items())

    def add_done(
        self, digest: str, line: FilmLine, files: Sequence[pathlib.Path], facts: Mapping[str, Any]
    ) -> None:
        """Records a finished film.

        Raises:
            UserError: the record cannot be written.
        """
        # Relative inside of the folder, which may be moved.
        names = {os.path.relpath(file, self._folder): file for file in map(pathlib.Path.absolute, files)}
        names = {str(path) if name.startswith("..") else name: path for name, path in names.items()}
        sizes = {name: path.stat().st_size for name, path in names.items()}
        known = {"digest": digest, "line": line.number, "video": str(line.video), "files": sizes}
        _append(self._done, known | dict(facts))
        self._remember(digest, sizes)

    def add_failure(self, line: FilmLine, error: str) -> None:
        """Records a film that failed; the next run tries it again.

        Raises:
            UserError: the record cannot be written.
        """
        _append(self.failures, {"line": line.number, "video": str(line.video), "error": error})


@contextlib.contextmanager
def open_ledger(folder: pathlib.Path, part: Part) -> Iterator[Ledger]:
    """Opens the record of a folder for one run, and removes what a killed one left; a context manager.

    Args:
        folder: made if need be.
        part: of the lines that this process takes.

    Raises:
        UserError: the folder cannot be written, or another run is at work there.
    """
    lock = folder / f"{LOCK}{part.suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None
    with file:
        try:
            fcntl.flock(
                file, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # released by the end of the process, however it ends
        except OSError:
            raise UserError(
                f"{folder}: another run is at work there; wait for its end, choose another --out, or give "
                "each process a --part"
            ) from None
        ledger = Ledger(folder, part)
        ledger.failures.unlink(missing_ok=True)
        yield ledger


def _size(path: pathlib.Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _entries(path: pathlib.Path) -> Iterator[tuple[str, dict[str, int]]]:
    """Digests, and sizes of files by name, in order; without a line that was cut off by a kill."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); choose another --out") from None
    for line in lines:
        try:
            entry = json.loads(line)
            yield str(entry["digest"]), dict(entry["files"])
        except (ValueError, KeyError, TypeError):
            continue


def _append(path: pathlib.Path, entry: Mapping[str, Any]) -> None:
    """Appends a line, in one write: several processes may append."""
    with explain_errors(path), path.open("a+b") as file:
        file.seek(0, os.SEEK_END)
        torn = b""
        if file.tell():
            file.seek(-1, os.SEEK_END)
            torn = b"" if file.read(1) == b"\n" else b"\n"
        file.write(torn + json.dumps(entry, default=str).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
