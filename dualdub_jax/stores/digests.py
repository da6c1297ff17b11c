"""Digests of files and folders, by which a record names its inputs."""

import hashlib
from typing import Any

from dualdub_jax.stores.failures import store_errors
from dualdub_jax.stores.path import StorePath, find_files


def describe_file(path: StorePath) -> dict[str, Any]:
    """Path, SHA-256 and length of a file."""
    return {"path": str(path), "sha256": file_sha256(path), "bytes": path.stat().st_size}


def describe_folder(folder: StorePath) -> dict[str, Any]:
    """One digest for the names and contents of all files in a folder."""
    digest = hashlib.sha256()
    with store_errors(folder):
        for path in find_files(folder, "*"):
            digest.update(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n".encode())
    return {"path": str(folder), "sha256": digest.hexdigest()}


def file_sha256(path: StorePath) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
