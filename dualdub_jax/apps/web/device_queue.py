"""One job at a time on the device: the others wait in order, and one that nobody waits for is stopped."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from dualdub_jax.dubbing.progress import Advance, Progress
from dualdub_jax.errors import UserError

LEASE_S = 20.0  # a job is stopped if nobody has asked for it for so long


class Cancelled(Exception):
    """A job was cancelled, or nobody waits for it any more."""


class Task:
    """A job in the queue.

    Attributes:
        step: what is being done; "" before the first.
        fraction: how much of the step is done, 0 to 1; None: not known.
        future: its result.
    """

    def __init__(self) -> None:
        self.step = ""
        self.fraction: float | None = None
        self.future: Future[Any]
        self._began_s = self._seen_s = time.monotonic()
        self._is_cancelled = False

    def keep_alive(self) -> None:
        """To be called again and again by whoever waits."""
        self._seen_s = time.monotonic()

    def cancel(self) -> None:
        """Stops the job: at once if it waits, after the step in progress if it runs."""
        self._is_cancelled = True

    def check(self) -> None:
        """Called by the job as often as it can.

        Raises:
            Cancelled: it must stop.
        """
        if self._is_cancelled or time.monotonic() - self._seen_s > LEASE_S:
            raise Cancelled

    def report(self, step: str, fraction: float | None) -> None:
        """Called by the job: how far it is."""
        self.check()
        if step != self.step:
            self._began_s = time.monotonic()
        self.step, self.fraction = step, fraction

    @property
    def left_s(self) -> float | None:
        """Estimate of the seconds until the step is done; None: not known."""
        elapsed_s = time.monotonic() - self._began_s
        if not self.fraction or elapsed_s < 2.0:
            return None
        return elapsed_s * (1.0 - self.fraction) / self.fraction


class TaskProgress(Progress):
    """Progress of a project that is a task's; a step of a task that is cancelled raises `Cancelled`."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    @contextlib.contextmanager
    def _shown(self, name: str) -> Iterator[Advance]:
        self._task.report(name, None)
        yield lambda fraction: self._task.report(name, fraction)


class DeviceQueue:
    """Runs tasks one after another in a thread of its own."""

    def __init__(self, max_waiting: int) -> None:
        """Starts without tasks.

        Args:
            max_waiting: further ones are refused.
        """
        self._max_waiting = max_waiting
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._lock = threading.Lock()
        self._tasks: list[Task] = []

    def submit(self, work: Callable[[Task], Any]) -> Task:
        """Puts a job at the end of the queue.

        Args:
            work: the job; it calls `report` or `check` of its task often.

        Raises:
            UserError: too many jobs are waiting.
        """
        task = Task()
        with self._lock:
            if len(self._tasks) > self._max_waiting:
                raise UserError(f"{self._max_waiting} jobs are waiting, and no more can; try again later")
            self._tasks.append(task)
            task.future = self._pool.submit(self._run, task, work)
        return task

    def num_before(self, task: Task) -> int:
        """Jobs that are ahead of a task; 0: it is being done, or is done."""
        with self._lock:
            return self._tasks.index(task) if task in self._tasks else 0

    def remove(self, task: Task) -> None:
        """Cancels a task; one that waits leaves the queue."""
        task.cancel()
        if task.future.cancel():
            self._forget(task)

    def close(self) -> None:
        """Cancels everything; to be called when the server stops."""
        with self._lock:
            tasks = list(self._tasks)
        for task in tasks:
            self.remove(task)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, task: Task, work: Callable[[Task], Any]) -> Any:
        try:
            task.check()
            return work(task)
        finally:
            self._forget(task)

    def _forget(self, task: Task) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._tasks.remove(task)
