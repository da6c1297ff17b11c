"""Temporary files and folders of this process, which are removed also if it ends without unwinding."""

import contextlib
import pathlib
import shutil

_PATHS: set[pathlib.Path] = set()


def add(path: pathlib.Path) -> None:
    """Registers a file or folder before it is made."""
    _PATHS.add(path.absolute())


def discard(path: pathlib.Path) -> None:
    """Forgets a file or folder that has been removed or has become a result."""
    _PATHS.discard(path.absolute())


def remove_all() -> None:
    """Removes all that is registered; for a process that ends at once."""
    for path in list(_PATHS):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
