"""Batches one after the other, decoded ahead of time, with an exact position.

What is decoded ahead is no part of the position.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import grain
from absl import flags

from dualdub_jax.errors import UserError
from dualdub_jax.training.bad_records import BadRecord
from dualdub_jax.training.held_out import HeldOutSets

HostBatch = dict[str, Any]

# Batches ready for the train step, and batches in the making for each decoding thread.
_NUM_READY_BATCHES = 2
_MAX_THREADS = 8
# How often workers are started again for one batch, and what grain says of one that is gone.
_MAX_RESTARTS = 3
_DEAD_WORKER = "process was terminated unexpectedly"


class Batches(Protocol):
    """A stream of global batches at a position, and this process's rows of them."""

    def rest(self) -> grain.MapDataset:
        """The batches from the position on, one element a batch."""
        ...

    def advance(self) -> None:
        """Moves the position by a batch."""
        ...

    def position(self) -> dict[str, Any]:
        """JSON of the position, the same on every process; "next_batch" is the number of the next batch."""
        ...

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Moves the position; of another stream, only "next_batch" counts."""
        ...


class NumberedBatches:
    """Batches of one shape, of which each is found by its number."""

    def __init__(self, batches: grain.MapDataset) -> None:
        self._batches, self._next = batches, 0

    def rest(self) -> grain.MapDataset:
        """See `Batches`."""
        return self._batches[self._next :]

    def advance(self) -> None:
        """See `Batches`."""
        self._next += 1

    def position(self) -> dict[str, Any]:
        """See `Batches`."""
        return {"next_batch": self._next}

    def go_to(self, position: Mapping[str, Any]) -> None:
        """See `Batches`."""
        self._next = int(position["next_batch"])

    def head(self, num_batches: int) -> "NumberedBatches":
        """The first batches alone."""
        return NumberedBatches(self._batches[:num_batches])


class BatchIterator(grain.DatasetIterator):
    """Iterates over batches; what `make_batches` and `make_codec_batches` return.

    It is a grain iterator, so `grain.checkpoint.CheckpointSave(iterator)` saves its position. `close` it:
    it holds threads, and processes with `num_workers`. `bad_records` lists the records that others replace in
    the last batch.

    Args:
        batches: of this process.
        finish: applied to each batch in the main process, ahead of time in a thread.
        num_workers: processes that decode; 0 decodes in threads of this one.
        stream: what the batches depend on; a position is only good for the same stream.
        held_out: opens the held-out sets; None: there are none.
    """

    def __init__(
        self,
        batches: Batches,
        finish: Callable[[HostBatch], HostBatch],
        num_workers: int,
        stream: dict[str, Any],
        held_out: Callable[[int], HeldOutSets] | None = None,
    ) -> None:
        super().__init__()
        self._batches = batches
        self._finish = finish
        self._num_workers = num_workers
        self._stream = stream
        self._held_out = held_out
        # Those that others in the last batch replace.
        self.bad_records: list[BadRecord] = []
        self._iterator: grain.DatasetIterator | None = None

    def __next__(self) -> HostBatch:
        if self._closed:
            raise ValueError("this batch iterator is closed")
        if self._iterator is None:
            self._iterator = self._open()
        batch = self._next_of_workers()
        self._batches.advance()
        self.bad_records = batch.pop("bad_records")
        return batch

    def _next_of_workers(self) -> HostBatch:
        """The next batch; workers that were killed are started again at the position, for the same batch."""
        for attempt in range(_MAX_RESTARTS + 1):
            try:
                return next(self._iterator)
            except RuntimeError as error:
                if not (self._num_workers and _DEAD_WORKER in str(error)):
                    raise
                reason = str(error).partition(". ")[0]
                if attempt == _MAX_RESTARTS:
                    number = self._batches.position()["next_batch"]
                    raise UserError(
                        f"decoding processes: were killed {attempt + 1} times in a row in the making of "
                        f"batch {number} ({reason}), perhaps for want of memory; set a lower "
                        "--config.num_loader_workers, or 0 to decode in threads"
                    ) from error
            print(f"decoding processes: {reason}; started again", file=sys.stderr, flush=True)
            self._stop()
            self._iterator = self._open()
        raise AssertionError("unreachable")

    def _open(self) -> grain.DatasetIterator:
        batches = self._batches.rest()
        if self._num_workers:
            # Grain's workers read absl flags; a program that does not use absl has never parsed them.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            dataset = batches.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
            dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=self._num_workers))
        else:
            num_threads = min(os.cpu_count() or 1, _MAX_THREADS)
            dataset = batches.to_iter_dataset(
                grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
            )
        dataset = dataset.map(self._finish)
        ahead = grain.experimental.ThreadPrefetchIterDataset(dataset, prefetch_buffer_size=_NUM_READY_BATCHES)
        return iter(ahead)

    def get_state(self) -> dict[str, Any]:
        """The position: a JSON-able dictionary, the same on every process."""
        return {**self._batches.position(), "stream": self._stream}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a position, so that the next batch is exactly the one that would have come.

        Raises:
            UserError: the position is of another stream (the text names the first difference).
        """
        for key in {**self._stream, **state["stream"]}:
            value, saved = self._stream.get(key), state["stream"].get(key)
            if saved != value and not (key == "fingerprints" and saved is None):  # of an older version
                raise UserError(
                    f"data position: was saved with {key}={saved}, but the run has {key}={value}; "
                    "resume with the same settings and data, or use another workdir"
                )
        self._stop()
        self._batches.go_to(state)

    def head(self, num_batches: int) -> "BatchIterator":
        """The first batches alone, decoded in threads; of batches of one shape."""
        stream = self._stream | {"num_batches": num_batches}
        return BatchIterator(self._batches.head(num_batches), self._finish, 0, stream)

    def held_out(self, num_clips: int) -> HeldOutSets:
        """Opens the same batches of held-out splits, dataset by dataset.

        Args:
            num_clips: of each dataset, rounded up to whole batches where batches are crops.

        Raises:
            UserError: a split that the mixture names does not exist.
        """
        return HeldOutSets([], []) if self._held_out is None else self._held_out(num_clips)

    def start_prefetch(self) -> None:
        """Starts decoding before the first batch is requested."""
        if self._iterator is None:
            self._iterator = self._open()
        self._iterator.start_prefetch()

    def close(self) -> None:
        self._stop()
        self._closed = True

    def _stop(self) -> None:
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None
