"""Fingerprints of datasets, which tell whether a run resumes on the data that it was started with."""

import functools
import hashlib
from collections.abc import Sequence

from etils import epath

_WHOLE_BYTES = 1 << 28  # larger splits are sampled
_NUM_BLOCKS = 4096  # of a sampled split, evenly divided between its files and spaced in each
_MIN_BLOCKS = 2  # of a file: its first and its last
_BLOCK_BYTES = 1 << 14


def fingerprint_files(paths: Sequence[epath.PathLike]) -> str:
    """The fingerprint of a split: of its files' sizes and bytes, independent of their names and dates.

    Of splits above 256 MiB, evenly spaced blocks are read: a build with other clips moves the bytes of all
    that follow.

    Args:
        paths: the files, in order.

    Returns:
        12 hexadecimal digits.
    """
    files = []
    for path in paths:
        stat = epath.Path(path).stat()
        files.append((str(path), stat.length, stat.mtime))
    return _fingerprint(tuple(files))


@functools.lru_cache(maxsize=256)  # every phase opens the same datasets
def _fingerprint(files: tuple[tuple[str, int, int], ...]) -> str:
    """Of files by path, size in bytes and time of modification, which limits the cache to unchanged ones."""
    digest = hashlib.sha256()
    is_whole = sum(num_bytes for _, num_bytes, _ in files) <= _WHOLE_BYTES
    num_blocks = max(_NUM_BLOCKS // len(files), _MIN_BLOCKS)
    for path, num_bytes, _ in files:
        digest.update(num_bytes.to_bytes(8, "big"))
        with epath.Path(path).open("rb") as file:
            if is_whole or num_bytes <= num_blocks * _BLOCK_BYTES:
                digest.update(file.read())
                continue
            for block in range(num_blocks):
                file.seek((num_bytes - _BLOCK_BYTES) * block // (num_blocks - 1))
                digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()[:12]
