"""Multi-process execution: initialisation, barriers, gathers, joint writes and failure handling."""

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from dualdub_jax.errors import UserError
from dualdub_jax.parallel.program_cache import keep_programs_of_every_process
from dualdub_jax.stores.commit import remove_folder
from dualdub_jax.stores.failures import store_errors
from dualdub_jax.stores.path import StorePath, is_remote

PyTree = Any  # any tree of arrays

# A process without a heartbeat for this long counts as lost, and the others stop with an error.
HEARTBEAT_TIMEOUT_S = 25
_BARRIER_TIMEOUT_S = 3600
_barrier_numbers = itertools.count()  # every process passes the same barriers in the same order
# How long a finished process waits for the others.
_SHUTDOWN_TIMEOUT_S = 60
_ADDRESS_HELP = "--coordinator HOST:PORT --num-processes N --process-id I"


# Substrings of the error messages of CPU, GPU and TPU collectives when a peer is lost.
_LOST = ("gloo", "connection", "socket", "heartbeat", "unavailable", "nccl", "task", "deadline")


class PeerLostError(Exception):
    """Another process has died or does not respond; the message includes the collective's error."""

    def __init__(self, error: BaseException):
        first_line = next(iter(str(error).splitlines()), "")
        super().__init__(
            f"process {jax.process_index()}: another process has died ({first_line[:200]}); "
            "see its own output; restart all processes to resume from the last checkpoint"
        )


def is_loss_of_peer(error: BaseException) -> bool:
    """True if a collective failed because a peer was lost."""
    text = str(error).lower()
    return jax.process_count() > 1 and any(word in text for word in _LOST)


def initialize(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Initialises `jax.distributed`; must precede any other use of JAX.

    Args:
        coordinator: "HOST:PORT" of process 0; None: detected from the cluster (TPU, SLURM, Open MPI,
            Kubernetes) where JAX supports it.
        num_processes: total number.
        process_id: of this process, from 0.

    Raises:
        UserError: only some of the arguments are given, the address has no port, the id is out of range, no
            cluster is detected, or the other processes cannot be reached.
    """
    given = [coordinator, num_processes, process_id]
    if any(value is not None for value in given):
        if None in given:
            raise UserError(f"--distributed: give all of {_ADDRESS_HELP}, or none to detect the cluster")
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise UserError(f"--coordinator {coordinator}: expected HOST:PORT, such as 10.0.0.1:8476")
        if not 0 <= process_id < num_processes:
            raise UserError(
                f"--process-id {process_id}: expected 0 to {num_processes - 1} with {num_processes} processes"
            )
    # The service would handle SIGTERM; the training loop stops all processes at the same step by itself.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_S,
            shutdown_timeout_seconds=_SHUTDOWN_TIMEOUT_S,
        )
    except ValueError as error:
        raise UserError(f"--distributed: no cluster detected ({error}); give {_ADDRESS_HELP}") from None
    except RuntimeError as error:
        first_line = str(error).splitlines()[0]
        raise UserError(
            f"--distributed: the other processes cannot be reached ({first_line}); "
            "start each of them with the same --coordinator and a distinct --process-id"
        ) from None
    keep_programs_of_every_process()


def leave(status: int, *, together: bool) -> None:
    """Ends this process's part of the program; returns only if `together`.

    Args:
        status: exit status.
        together: whether every process gets here and they wait for each other. A process that fails alone
            exits at once: the others block in a collective until it is gone.
    """
    if together:
        jax.distributed.shutdown()
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def is_first() -> bool:
    """True on process 0, which writes logs and metrics."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits for every process; the loss of a peer ends the wait with an error.

    It uses the coordinator instead of a device collective: CPU collectives time out after 30 s, which
    differences in compilation or reading time can exceed.
    """
    if jax.process_count() > 1:
        unique_name = f"{name} {next(_barrier_numbers)}"
        everyone = set(range(jax.process_count()))
        ocp.multihost.sync_global_processes(unique_name, timeout=_BARRIER_TIMEOUT_S, processes=everyone)


def gather_json(value: Any) -> list[Any]:
    """All-gathers a JSON value in the order of processes; every process must call it."""
    if jax.process_count() == 1:
        return [value]
    barrier("gather")
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(text.size))
    padded = np.pad(text, (0, int(sizes.max()) - text.size))
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def local_copy(tree: PyTree) -> PyTree:
    """All-gathers arrays to one device of this process, for small programs outside the mesh.

    A program on mesh arrays must run on every process at the same time. One on local copies need not, so a
    thread that prepares batches can run it independently. Every process must call this function.
    """
    barrier("local copy")
    whole = multihost_utils.process_allgather(tree, tiled=True)
    return jax.device_put(whole, jax.local_devices()[0])


@contextlib.contextmanager
def replaced_folder(directory: StorePath, marker: str) -> Iterator[StorePath]:
    """A folder, shared by all processes, that becomes the new content of `directory` on success.

    On a local disk it is a temporary folder that atomically replaces `directory`; an exception leaves
    `directory` unchanged and removes the temporary folder. On an object store it is `directory` itself,
    emptied; an exception empties it again.

    Args:
        directory: to replace.
        marker: name of the file by which readers recognise a complete folder; the body writes it last.
    """
    if is_remote(directory):
        with _rewritten_folder(directory, marker):
            yield directory
        return
    directory = directory.absolute()
    temporary = directory.with_name(directory.name + ".partial")
    if is_first():
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    barrier(f"made {temporary}")
    try:
        yield temporary
    except BaseException:
        if is_first():
            _remove(temporary)
        raise
    barrier(f"wrote {temporary}")
    if is_first():
        shutil.rmtree(directory, ignore_errors=True)
        temporary.rename(directory)
    barrier(f"renamed {temporary}")


@contextlib.contextmanager
def _rewritten_folder(directory: StorePath, marker: str) -> Iterator[None]:
    if is_first():
        remove_folder(directory, marker)
    barrier(f"emptied {directory}")
    try:
        with store_errors(directory):
            yield
    except BaseException:
        if is_first():
            # The error of the body is the one to report.
            with contextlib.suppress(UserError):
                remove_folder(directory, marker)
        raise
    barrier(f"wrote {directory}")


def _remove(folder: pathlib.Path, patience_s: float = 5.0) -> None:
    """Removes a folder into which threads of a failed save may still write for a moment."""
    until = time.monotonic() + patience_s
    while folder.exists():
        # Under another name it is out of their reach; a thread may make it anew.
        gone = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(OSError):
            folder.rename(gone)
        shutil.rmtree(gone if gone.exists() else folder, ignore_errors=True)
        if time.monotonic() > until:
            return
        time.sleep(0.05)
