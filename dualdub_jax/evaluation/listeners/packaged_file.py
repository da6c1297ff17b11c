"""Model files inside third-party packages: their paths and digests."""

import functools
import hashlib
import importlib.util
import pathlib


def packaged_file(module: str, *path: str) -> pathlib.Path:
    """Locates the file `path` of the installed package `module` without importing it.

    Raises:
        FileNotFoundError: the package is not installed or has no such file.
    """
    spec = importlib.util.find_spec(module)
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        file = pathlib.Path(folder, *path)
        if file.exists():
            return file
    raise FileNotFoundError(f"package {module} has no file {'/'.join(path)}")


@functools.cache
def sha256_of(*files: pathlib.Path) -> str:
    """Hex digest of the concatenated contents of all files."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
