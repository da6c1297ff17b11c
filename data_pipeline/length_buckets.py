"""Batches of several lengths: clips of similar length share a batch, which is as long as its bucket.

The mixed stream of examples is read in order; each example waits in the bucket of its clip's length, and a
bucket that is full becomes the next batch. Which examples are in batch k thus depends on config, stage, seed
and the lengths of clips, and not on threads, workers or processes: all processes plan all batches and make
their rows of them. A position holds the examples that wait, so that resuming costs nothing.

Source: our choice; buckets by length are common practice in speech recognition and translation.
"""

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from dualdub_jax.config import Config, StageConfig
from dualdub_jax.data_pipeline.collate import collate
from dualdub_jax.data_pipeline.frame_times import num_frames_of
from dualdub_jax.errors import UserError

# Batches that are planned and not made yet; threads ask for them slightly out of order.
_MAX_PLANNED = 4096


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Clips of one range of lengths.

    Attributes:
        num_frames: T of its batches, grid frames; its clips are at most as long.
        batch_size: of all processes together.
    """

    num_frames: int
    batch_size: int


def buckets_of(stage: StageConfig, config: Config, where: str) -> list[Bucket]:
    """The buckets of a stage, ascending; the last one has the length of the window.

    A batch has `batch_size * (window // length)` clips: about as many frames as a batch of the window's
    length, never more, and a multiple of `batch_size`, which mesh, processes and microbatches divide.

    Args:
        stage: `buckets` and `batch_size`.
        config: with the window.
        where: the stage, for messages.

    Raises:
        UserError: lengths that do not ascend from 1 to below the window.
    """
    window = config.grid.num_frames
    lengths = (*stage.buckets, window)
    if any(a >= b for a, b in zip((0, *lengths), lengths, strict=False)):
        raise UserError(
            f"{where}: buckets are {list(stage.buckets)}, expected lengths in grid frames that ascend "
            f"and are below grid.num_frames={window}; set other lengths"
        )
    return [Bucket(length, stage.batch_size * (window // length)) for length in lengths]


def with_num_frames(config: Config, num_frames: int) -> Config:
    """The config of batches of another length."""
    return dataclasses.replace(config, grid=dataclasses.replace(config.grid, num_frames=num_frames))


def bucket_numbers(lengths_s: np.ndarray, buckets: Sequence[Bucket], config: Config) -> np.ndarray:
    """The bucket of each clip: the shortest that holds it, the last for longer and unreadable ones.

    Args:
        lengths_s: float64[N], NaN where unknown.
        buckets: ascending.
        config: with the frame rate.

    Returns:
        uint8[N].
    """
    rate, window = config.grid.frame_rate, buckets[-1].num_frames
    frames = [window if np.isnan(length_s) else num_frames_of(length_s, rate) for length_s in lengths_s]
    return np.searchsorted([bucket.num_frames for bucket in buckets[:-1]], frames).astype(np.uint8)


class BucketPlan:
    """Which examples are in which batch.

    Args:
        bucket_of: number of an example in the mixed stream -> number of its bucket.
        sizes: clips of a batch of each bucket.
    """

    def __init__(self, bucket_of: Callable[[int], int], sizes: Sequence[int]) -> None:
        self._bucket_of, self._sizes = bucket_of, tuple(sizes)
        self._next_batch = self._next_example = 0
        self._waiting: list[list[int]] = [[] for _ in sizes]

    def next(self) -> tuple[int, list[int]]:
        """The next batch: number of its bucket, and numbers of its examples."""
        while True:
            example = self._next_example
            self._next_example += 1
            bucket = self._bucket_of(example)
            self._waiting[bucket].append(example)
            if len(self._waiting[bucket]) == self._sizes[bucket]:
                examples, self._waiting[bucket] = self._waiting[bucket], []
                self._next_batch += 1
                return bucket, examples

    def position(self) -> dict[str, Any]:
        """JSON of the position."""
        waiting = {"next_example": self._next_example, "examples": [list(found) for found in self._waiting]}
        return {"next_batch": self._next_batch, "waiting": waiting}

    def at(self, position: Mapping[str, Any]) -> "BucketPlan":
        """The same plan at another position; without "waiting", all batches before it are planned again."""
        moved = BucketPlan(self._bucket_of, self._sizes)
        if "waiting" in position:
            moved._next_batch = int(position["next_batch"])
            moved._next_example = int(position["waiting"]["next_example"])
            moved._waiting = [list(found) for found in position["waiting"]["examples"]]
            return moved
        while moved._next_batch < position["next_batch"]:
            moved.next()
        return moved


class BucketBatches:
    """Batches of several lengths; `batch_iterator.Batches`.

    Args:
        plan: of the whole stream, at its beginning.
        examples: of each bucket, the mixed stream of examples in the bucket's shape.
        share: (index, count) of this process among those that share a batch.
    """

    def __init__(
        self, plan: BucketPlan, examples: Sequence[grain.MapDataset], share: tuple[int, int]
    ) -> None:
        self._plan, self._examples, self._share = plan, tuple(examples), share

    def rest(self) -> grain.MapDataset:
        """See `Batches`."""
        return _PlannedBatches(self._plan.at(self._plan.position()), self._examples, self._share)

    def advance(self) -> None:
        """See `Batches`."""
        self._plan.next()

    def position(self) -> dict[str, Any]:
        """See `Batches`."""
        return self._plan.position()

    def go_to(self, position: Mapping[str, Any]) -> None:
        """See `Batches`."""
        self._plan = self._plan.at(position)


class _PlannedBatches(grain.MapDataset):
    """Element k is the batch k places after the plan's position; elements are asked for about in order."""

    def __init__(
        self, plan: BucketPlan, examples: Sequence[grain.MapDataset], share: tuple[int, int]
    ) -> None:
        super().__init__()
        self._plan, self._examples, self._share = plan, examples, share
        self._num_planned = 0
        self._planned: dict[int, tuple[int, list[int]]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return min(map(len, self._examples))  # endless

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        bucket, numbers = self._batch(index)
        number, count = self._share
        size = len(numbers) // count
        examples = self._examples[bucket]
        return collate([examples[example] for example in numbers[number * size : (number + 1) * size]])

    def _batch(self, index: int) -> tuple[int, list[int]]:
        with self._lock:
            while self._num_planned <= index:
                self._planned[self._num_planned] = self._plan.next()
                self._planned.pop(self._num_planned - _MAX_PLANNED, None)
                self._num_planned += 1
            return self._planned[index]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()
