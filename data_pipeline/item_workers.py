"""Items to records on disk, in their order, in this process or in others, a bounded number in flight."""

import collections
import itertools
import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.builders.base import Builder, Dropped, Item
from dualdub_jax.data_pipeline.item_spool import ItemSpool, Made
from dualdub_jax.data_pipeline.orphans import die_with_parent
from dualdub_jax.errors import UserError

_IN_FLIGHT = 3  # items a process: one at work, others waiting or done
_MAX_KILLS = 3  # in a row, without an item that was finished in between


class ItemWorkers:
    """Makes the records of items; a context manager that holds the processes.

    Args:
        builder: whose items.
        config: of the builder.
        spool: where items are kept; those that are there are not made again.
        num_processes: at work at the same time; 1 works in this process.
    """

    def __init__(self, builder: Builder, config: str, spool: ItemSpool, num_processes: int) -> None:
        self._work = (builder, config, spool)
        self._spool = spool
        self._num_processes = num_processes
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self._num_processes > 1:
            self._pool = self._start()
        return self

    def _start(self) -> ProcessPoolExecutor:
        # Spawned, because the parent may hold threads of JAX or of a progress bar.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._num_processes, context, _remember, self._work)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        if kind is not None:  # nobody waits for the items at work; an interrupt least of all
            for process in multiprocessing.active_children():
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def records(self, split: str, items: Sequence[Item]) -> Iterator[Iterator[Made]]:
        """The records of each item, in the order of `items` whichever process is faster.

        Raises:
            UserError: processes were killed again and again, most likely for want of memory.
        """
        for number in self._numbers(split, items):
            yield self._spool.read(split, number)

    def _numbers(self, split: str, items: Sequence[Item]) -> Iterator[int]:
        """The place of each item, once it has been made."""
        if self._pool is None:
            for number, item in enumerate(items):
                make_item(*self._work, split, number, item)
                yield number
            return
        finished = kills = 0
        while finished < len(items):
            try:
                for number in self._made(split, items, finished):
                    yield number
                    finished, kills = number + 1, 0
            except BrokenProcessPool as error:
                kills += 1
                if kills == _MAX_KILLS:
                    raise UserError(
                        f"--processes {self._num_processes}: a process that makes records was killed "
                        f"{kills} times in a row, most likely for want of memory; use fewer, and run the "
                        "command again: finished items are kept"
                    ) from error
                print("a process that makes records was killed; started again", file=sys.stderr, flush=True)
                self._pool.shutdown()
                self._pool = self._start()

    def _made(self, split: str, items: Sequence[Item], first: int) -> Iterator[int]:
        """The places of the items from `first` on, each once it has been made."""
        waiting: collections.deque = collections.deque()
        following = iter(range(first, len(items)))
        while True:
            room = _IN_FLIGHT * self._num_processes - len(waiting)
            for number in itertools.islice(following, room):
                is_made = self._spool.has(split, number)
                made = None if is_made else self._pool.submit(_make_here, split, number, items[number])
                waiting.append((number, made))
            if not waiting:
                return
            number, made = waiting.popleft()
            if made is not None:
                made.result()
            yield number


def make_item(builder: Builder, config: str, spool: ItemSpool, split: str, number: int, item: Item) -> None:
    """Makes one item, unless it is there."""
    if not spool.has(split, number):
        spool.write(split, number, _checked(builder, config, item))


def _checked(builder: Builder, config: str, item: Item) -> Iterator[Made]:
    for found in builder.make_records(config, item):
        if not isinstance(found, Dropped):
            record.check(found)
        yield found


_HERE: tuple[Builder, str, ItemSpool] | None = None  # of this worker process


def _remember(builder: Builder, config: str, spool: ItemSpool) -> None:
    global _HERE
    _HERE = (builder, config, spool)
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle


def _make_here(split: str, number: int, item: Item) -> None:
    make_item(*_HERE, split, number, item)
