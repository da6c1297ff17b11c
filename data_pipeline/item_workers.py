"""Items to records, in their order, in this process or in others, with a bounded number in flight."""

import collections
import itertools
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.builders.base import Builder, Dropped, Item
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.errors import UserError

_IN_FLIGHT = 3  # items a process: one at work, others waiting or done

_Made = list[Record | Dropped]


class ItemWorkers:
    """Makes the records of items; a context manager that holds the processes.

    Args:
        builder: whose items.
        config: of the builder.
        num_processes: at work at the same time; 1 works in this process.
    """

    def __init__(self, builder: Builder, config: str, num_processes: int) -> None:
        self._work = (builder, config)
        self._num_processes = num_processes
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self._num_processes > 1:
            # Spawned, because the parent may hold threads of JAX or of a progress bar.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._num_processes, context, _remember, self._work)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        if kind is not None:  # nobody waits for the items at work; an interrupt least of all
            for process in multiprocessing.active_children():
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def records(self, items: Sequence[Item]) -> Iterator[_Made]:
        """The records of each item, in the order of `items` whichever process is faster.

        Raises:
            UserError: a process died, most likely for want of memory.
        """
        if self._pool is None:
            for item in items:
                yield _make(*self._work, item)
            return
        waiting: collections.deque = collections.deque()
        following = iter(items)
        try:
            while True:
                room = _IN_FLIGHT * self._num_processes - len(waiting)
                waiting.extend(
                    self._pool.submit(_make_here, item) for item in itertools.islice(following, room)
                )
                if not waiting:
                    return
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                f"--processes {self._num_processes}: a process that makes records was killed, most likely "
                "for want of memory; use fewer"
            ) from error


def _make(builder: Builder, config: str, item: Item) -> _Made:
    made = []
    for found in builder.make_records(config, item):
        if not isinstance(found, Dropped):
            record.check(found)
        made.append(found)
    return made


_HERE: tuple[Builder, str] | None = None  # of this worker process


def _remember(builder: Builder, config: str) -> None:
    global _HERE
    _HERE = (builder, config)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle


def _make_here(item: Item) -> _Made:
    return _make(*_HERE, item)
