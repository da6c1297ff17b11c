"""Several processes as one program: starting together, agreeing, writing together, failing together."""

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from dualdub_jax.errors import UserError

PyTree = Any

# A process that has not been heard of for this long is dead, and the others stop with an error.
HEARTBEAT_TIMEOUT_S = 25
_BARRIER_TIMEOUT_S = 3600
_barrier_numbers = itertools.count()  # every process passes the same barriers in the same order
# How long a process that has finished waits for the others.
_SHUTDOWN_TIMEOUT_S = 60
_ADDRESS_HELP = "--coordinator HOST:PORT --num-processes N --process-id I"


# What the collectives of CPU, GPU and TPU say when a process at the other end is gone.
_LOST = ("gloo", "connection", "socket", "heartbeat", "unavailable", "nccl", "task", "deadline")


class PeerLostError(Exception):
    """Another process has died, or does not answer; the text has what the collective said."""

    def __init__(self, error: BaseException):
        first_line = next(iter(str(error).splitlines()), "")
        super().__init__(
            f"process {jax.process_index()}: another process has died ({first_line[:200]}); "
            "see its own output; start all of them again to go on from the last checkpoint"
        )


def is_loss_of_peer(error: BaseException) -> bool:
    """True if a collective failed because of the process at the other end."""
    text = str(error).lower()
    return jax.process_count() > 1 and any(word in text for word in _LOST)


def initialize(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins the other processes; call it before anything else of JAX.

    Args:
        coordinator: "HOST:PORT", where process 0 listens; None finds out from the cluster (TPU, SLURM, Open
            MPI, Kubernetes), as far as JAX knows how.
        num_processes: how many there are.
        process_id: which one this is, from 0.

    Raises:
        UserError: some but not all of the arguments, an address without a port, an id out of range, no
            cluster found, or the others were not reached.
    """
    given = [coordinator, num_processes, process_id]
    if any(value is not None for value in given):
        if None in given:
            raise UserError(f"--distributed: give all of {_ADDRESS_HELP}, or none to ask the cluster")
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise UserError(f"--coordinator {coordinator}: expected HOST:PORT, such as 10.0.0.1:8476")
        if not 0 <= process_id < num_processes:
            raise UserError(
                f"--process-id {process_id}: expected 0 to {num_processes - 1}, for there are {num_processes}"
            )
    # It would take SIGTERM for itself: the training loop has its own way to stop at one step everywhere.
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
        raise UserError(f"--distributed: no cluster was found ({error}); give {_ADDRESS_HELP}") from None
    except RuntimeError as error:
        first_line = str(error).splitlines()[0]
        raise UserError(
            f"--distributed: the other processes were not reached ({first_line}); "
            "see that each is started, with the same --coordinator and an id of its own"
        ) from None


def leave(status: int, *, together: bool) -> None:
    """Ends this process's part of the program; returns only if `together`.

    Args:
        status: exit status.
        together: every process comes here, so that they can wait for each other. A process that fails alone
            must not wait: the others are inside a collective that it will never join, and would sit there
            until it is gone.
    """
    if together:
        jax.distributed.shutdown()
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def is_first() -> bool:
    """True on the one process that writes logs and metrics."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every process is here, however long that takes; a death among them ends the wait.

    It goes through the coordinator and not through the devices: collectives on CPUs give each other 30 s
    only, which is less than one process may need longer than another to compile or to read.
    """
    if jax.process_count() > 1:
        unique_name = f"{name} {next(_barrier_numbers)}"
        everyone = set(range(jax.process_count()))
        ocp.multihost.sync_global_processes(unique_name, timeout=_BARRIER_TIMEOUT_S, processes=everyone)


def gather_json(value: Any) -> list[Any]:
    """The JSON value of every process, in their order; every process must call it."""
    if jax.process_count() == 1:
        return [value]
    barrier("gather")
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(text.size))
    padded = np.pad(text, (0, int(sizes.max()) - text.size))
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def local_copy(tree: PyTree) -> PyTree:
    """Whole arrays on one device of this process, for small things that run outside of the mesh.

    A program on arrays of the mesh needs every process; one on these does not, so that a thread that
    prepares batches can run it when it likes.
    """
    barrier("local copy")
    whole = multihost_utils.process_allgather(tree, tiled=True)
    return jax.device_put(whole, jax.local_devices()[0])


@contextlib.contextmanager
def replaced_folder(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary folder, the same for every process, that takes the place of `directory` at the end.

    The folder appears whole or not at all; an exception leaves what was there before.
    """
    directory = directory.absolute()
    temporary = directory.with_name(directory.name + ".partial")
    if is_first():
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    barrier(f"made {temporary}")
    yield temporary
    barrier(f"wrote {temporary}")
    if is_first():
        shutil.rmtree(directory, ignore_errors=True)
        temporary.rename(directory)
    barrier(f"renamed {temporary}")
