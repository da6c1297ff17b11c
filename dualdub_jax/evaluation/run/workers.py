"""Scores clips in other processes: `dualdub evaluate --jobs N`.

A process scores one clip at a time, all its systems by all metrics, so that what a metric computes of the
truth serves every row and a clip is sent once. Processes are spawned, since the parent holds threads of JAX,
and import JAX only if one of their metrics does. Should the parent be killed, they end after their clip.
Source: our choice.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import Metric
from dualdub_jax.evaluation.run.failures import Failure
from dualdub_jax.evaluation.run.score_store import Values
from dualdub_jax.evaluation.run.scoring import score_clips

MEMORY_BYTES = 3 << 30  # of a process with the models of all metrics, and some room
CLIPS_PER_PROCESS = 4  # fewer are scored before the models are loaded
# Of OpenBLAS, MKL, and OpenMP, which PyTorch and CTranslate2 obey too.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass(frozen=True)
class Task:
    """A clip to score.

    Attributes:
        id: of the clip.
        clips: system -> the clip with its soundtrack.
        todo: (name of the metric, system), in the order in which they are scored.
    """

    id: str
    clips: Mapping[str, Clip]
    todo: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Scored:
    """A clip's scores.

    Attributes:
        id: of the clip.
        outcomes: (name of the metric, system) -> its values, or why there are none.
        weights_sha256: of the metrics, by name; "" as long as a metric has loaded none.
    """

    id: str
    outcomes: Mapping[tuple[str, str], Values | Failure]
    weights_sha256: Mapping[str, str]


@dataclasses.dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection
    clip_id: str = ""


def default_jobs(num_clips: int) -> int:
    """As many processes as cores, but each with `MEMORY_BYTES` of the machine's and `CLIPS_PER_PROCESS`."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(_num_cores(), memory // MEMORY_BYTES, num_clips // CLIPS_PER_PROCESS))


def score_in_processes(metrics: Sequence[Metric], tasks: Iterable[Task], jobs: int) -> Iterator[Scored]:
    """Scores clips.

    Args:
        metrics: picklable, as their clips.
        tasks: read as processes become free, one a process in flight.
        jobs: processes, each with its share of the cores.

    Yields:
        Scores as clips are done, in no order.

    Raises:
        UserError: a process died, or a clip or metric cannot be sent to it; names the clip.
    """
    tasks = iter(tasks)
    workers: list[_Worker] = []
    try:
        with _signals_held(), _threads_limited(max(1, _num_cores() // jobs)):
            for _ in range(jobs):
                workers.append(_start(metrics, jobs))
        busy = [worker for worker in workers if _send_next(worker, tasks, jobs)]
        while busy:
            for connection in wait([worker.connection for worker in busy]):
                worker = next(worker for worker in busy if worker.connection is connection)
                yield _receive(worker, jobs)
                if not _send_next(worker, tasks, jobs):
                    busy.remove(worker)
    finally:
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()
            worker.connection.close()


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(metrics: Sequence[Metric], jobs: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(list(metrics), theirs), daemon=True)
    try:
        process.start()
    except Exception as error:  # of pickle, for which there is no one class
        raise UserError(
            f"--jobs {jobs}: the metrics cannot be sent to other processes ({error}); use --jobs 1"
        ) from error
    theirs.close()
    return _Worker(process, ours)


def _send_next(worker: _Worker, tasks: Iterator[Task], jobs: int) -> bool:
    """Sends a task; False: there is none left."""
    task = next(tasks, None)
    if task is None:
        return False
    worker.clip_id = task.id
    try:
        content = ForkingPickler.dumps(task)
    except Exception as error:
        raise UserError(
            f"--jobs {jobs}: clip {task.id} cannot be sent to another process ({error}); use --jobs 1"
        ) from error
    try:
        worker.connection.send_bytes(content)
    except OSError as error:
        raise _death(worker, jobs) from error
    return True


def _receive(worker: _Worker, jobs: int) -> Scored:
    try:
        reply = worker.connection.recv()
    except (EOFError, OSError) as error:
        raise _death(worker, jobs) from error
    if isinstance(reply, Failure):
        raise UserError(
            f"--jobs {jobs}: clip {worker.clip_id} ended its process ({reply.text}); use --jobs 1"
        )
    return reply


def _death(worker: _Worker, jobs: int) -> UserError:
    worker.process.join(timeout=5)
    status = worker.process.exitcode
    if status is not None and status < 0:
        cause = f"was killed by signal {-status}, most likely for want of memory"
    else:
        cause = f"ended with status {status}"
    return UserError(
        f"--jobs {jobs}: the process that scored clip {worker.clip_id} {cause}; use fewer, or --skip the "
        "metric; finished clips are kept"
    )


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Processes that start inside never see Ctrl-C, which a terminal sends to all: it is the parent's."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _threads_limited(num_threads: int) -> Iterator[None]:
    """Limits the threads of libraries in processes that start inside; a limit of the user's stays."""
    added = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(num_threads)))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _work(metrics: Sequence[Metric], connection: Connection) -> None:
    """The life of a process."""
    # A semaphore, such as tqdm's, is then unlinked as soon as it is made: when this process is killed,
    # nothing is left and nothing reported.
    multiprocessing.set_start_method("fork", force=True)
    by_name = {metric.name: metric for metric in metrics}
    while True:
        try:
            reply = _score(by_name, connection.recv())
        except EOFError:
            return
        except BaseException as error:  # SystemExit of a library, too: the parent names the clip
            reply = Failure.of(error)
        try:
            connection.send(reply)
        except OSError:  # the parent is gone
            return


def _score(metrics: Mapping[str, Metric], task: Task) -> Scored:
    outcomes = {}
    for name, system in task.todo:
        load = {task.id: task.clips[system]}.__getitem__
        outcomes[name, system] = score_clips(metrics[name], [task.id], load)[task.id]
    return Scored(task.id, outcomes, {name: metric.weights_sha256 for name, metric in metrics.items()})
