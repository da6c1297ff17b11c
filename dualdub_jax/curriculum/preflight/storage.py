"""The working directory: writable, and if it is local, on a disk that holds the checkpoints."""

import os
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Sequence

from dualdub_jax.config import Config
from dualdub_jax.curriculum.preflight.phases import PhaseSize
from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import reached, store_errors
from dualdub_jax.stores.path import StorePath, is_remote


def check_writable(workdir: StorePath) -> None:
    """Checks that files can be written; leaves none.

    Raises:
        UserError: a file where the folder should be, or no permission; a store that is not reached.
    """
    if is_remote(workdir):
        probe = reached(workdir) / f"writable.{os.getpid()}.{secrets.token_hex(4)}"
        with store_errors(workdir):
            probe.write_bytes(b"")
            probe.unlink()
        return
    folder = _existing(workdir)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"--workdir {workdir}: cannot be written ({error.strerror}); choose another"
        ) from error


def check_disk(workdir: StorePath, config: Config, sizes: Sequence[PhaseSize]) -> str:
    """Compares the checkpoints of a run with the free disk space.

    Returns:
        Both, as text; of an object store, which has no limit, the former alone.

    Raises:
        UserError: too little space for the checkpoints that are still to be written.
    """
    if is_remote(workdir):
        return f"about {_text(sum(checkpoint_bytes(size, config) for size in sizes))} of checkpoints"
    needed = sum(checkpoint_bytes(size, config) - _stored_bytes(workdir / size.name) for size in sizes)
    # While a checkpoint is written, the one that it replaces is there too.
    needed = max(needed, 0) + max((size.state_bytes for size in sizes), default=0)
    free = shutil.disk_usage(_existing(workdir)).free
    if needed > free:
        raise UserError(
            f"--workdir {workdir}: checkpoints need about {_text(needed)}, but {_text(free)} are free; free "
            "some space, choose another disk, or lower checkpoint.keep_last"
        )
    return f"about {_text(needed)} of checkpoints; {_text(free)} are free"


def checkpoint_bytes(size: PhaseSize, config: Config) -> int:
    """Bytes of the checkpoints that a phase leaves."""
    every, checkpoint = config.checkpoint.keep_every_steps, config.checkpoint
    num_saves = -(-size.num_steps // checkpoint.save_every_steps)
    num_kept = min(num_saves, max(checkpoint.keep_last, 1)) + (size.num_steps // every if every else 0)
    return min(num_kept, num_saves) * size.state_bytes


def _stored_bytes(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _existing(folder: pathlib.Path) -> pathlib.Path:
    """The nearest folder above that exists, or the folder itself.

    Raises:
        UserError: it is a file.
    """
    folder = folder.absolute()
    found = next(path for path in (folder, *folder.parents) if path.exists())
    if not found.is_dir():
        raise UserError(f"--workdir {folder}: {found} is a file; choose another folder")
    return found


def _text(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
