"""A full or read-only disk, which is the user's to mend."""

import contextlib
import errno
import os
from collections.abc import Iterator

from dualdub_jax.errors import UserError


@contextlib.contextmanager
def disk_errors(folder: str | os.PathLike[str], mend: str) -> Iterator[None]:
    """While open, a disk that takes no more data raises a `UserError` that names `folder`.

    Args:
        folder: what is written.
        mend: what helps beside free space.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        # The record writer reports a full disk as a RuntimeError that only quotes the system.
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            if os.strerror(number) in str(error):
                raise UserError(
                    f"{folder}: writing failed ({os.strerror(number)}); free some space or {mend}"
                ) from error
        raise
