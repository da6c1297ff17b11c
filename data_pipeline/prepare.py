"""`dualdub data prepare`: what frozen encoders derive from a dataset's records, into sidecars."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import rich.console

from dualdub_jax.config import BadRecordConfig
from dualdub_jax.data_pipeline.dataset import Dataset
from dualdub_jax.data_pipeline.disk_errors import disk_errors
from dualdub_jax.data_pipeline.progress import Progress
from dualdub_jax.data_pipeline.record import Record, text
from dualdub_jax.data_pipeline.sidecars import SidecarStore, SidecarWriter, is_complete, sidecar_folder
from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import store_errors
from dualdub_jax.stores.path import StorePath
from dualdub_jax.training.bad_records import allowed

_BAD_RECORDS = BadRecordConfig()


class Derivation(NamedTuple):
    """One thing that is derived from records.

    Attributes:
        kind: what it is, such as "speech_tokens"; names the sidecar.
        fingerprint: of the encoder: equal for encoders that give equal arrays, and for no others.
        encode: records to one array each, in order; None for a record that has nothing to derive it from.
    """

    kind: str
    fingerprint: str
    encode: Callable[[list[Record]], Sequence[np.ndarray | None]]


def prepare(
    dataset: str | os.PathLike[str],
    kind: str,
    fingerprint: str,
    encode: Callable[[list[Record]], Sequence[np.ndarray | None]],
    *,
    batch_size: int = 16,
    shard_size: int = 512,
    bad_records: BadRecordConfig = _BAD_RECORDS,
    console: rich.console.Console | None = None,
    elsewhere: Callable[[Sequence[int]], None] | None = None,
) -> SidecarStore:
    """Derives a sidecar from all records of a dataset; what is already there is not made again.

    Records that cannot be used are named and left out, up to the config's share.

    Args:
        dataset: a dataset's folder, the one that holds `dataset_info.json`; local or on an object store.
        kind: see `Derivation`.
        fingerprint: see `Derivation`.
        encode: see `Derivation`; gets `batch_size` records at a time, the last ones of a shard fewer.
        batch_size: records in memory at a time.
        shard_size: records of a shard, which is what an interruption may lose.
        bad_records: how many records may be left out.
        console: where to report; None is standard error.
        elsewhere: writes shards by their numbers on other machines, with `write_shards`; None: they are
            written here.

    Raises:
        UserError: no dataset there, or too many records that cannot be read or that `encode` refuses.
        ValueError: `encode` gives another number of arrays than it gets records.
    """
    console = console or rich.console.Console(stderr=True)
    opened = Dataset(dataset)
    derivation = Derivation(kind, fingerprint, encode)
    label = f"{opened.name} {kind}"
    plan = _Plan(opened, derivation, shard_size)
    if is_complete(plan.folder):
        console.print(f"{label}: already prepared in {plan.folder}", soft_wrap=True)
        return SidecarStore.open(opened.folder, kind, fingerprint)
    with (
        store_errors(plan.folder),
        disk_errors(plan.folder, "make it writable"),
        Progress(console, label, plan.num_records, "clips") as progress,
    ):
        plan.writer.begin()
        missing = plan.writer.missing_shards()
        progress.advance(plan.num_records - sum(plan.length(number) for number in missing))
        if elsewhere is not None:
            elsewhere(missing)
        else:
            plan.write(missing, batch_size, bad_records, progress)
        return plan.writer.finish()


def write_shards(
    dataset: StorePath,
    derivation: Derivation,
    numbers: Sequence[int],
    bad_records: BadRecordConfig,
    *,
    batch_size: int = 16,
    shard_size: int = 512,
) -> None:
    """Writes some shards of a sidecar that `prepare` has begun, on this or on another machine.

    Args:
        dataset: its folder.
        derivation: what is stored.
        numbers: of the shards; those that are there are left alone.
        bad_records: how many records each call may leave out, as a share of the dataset's.
        batch_size: see `prepare`.
        shard_size: see `prepare`.

    Raises:
        UserError: as `prepare`.
    """
    plan = _Plan(Dataset(dataset), derivation, shard_size)
    missing = set(plan.writer.missing_shards())
    console = rich.console.Console(stderr=True)
    with store_errors(plan.folder), disk_errors(plan.folder, "make it writable"):
        numbers = [number for number in numbers if number in missing]
        plan.write(numbers, batch_size, bad_records, Progress(console, derivation.kind, 1, "shards"))


class _Plan:
    """How a dataset's records are divided into shards of a sidecar; a shard never spans two splits."""

    def __init__(self, opened: Dataset, derivation: Derivation, shard_size: int) -> None:
        splits = [opened.records(split) for split in sorted(opened.splits)]
        # (records, first, last)
        self._shards = [
            (records, first, min(first + shard_size, len(records)))
            for records in splits
            for first in range(0, len(records), shard_size)
        ]
        self.num_records = sum(map(len, splits))
        self.folder = sidecar_folder(opened.folder, derivation.kind, derivation.fingerprint)
        self.writer = SidecarWriter(
            self.folder, derivation.kind, derivation.fingerprint, len(self._shards), shard_size
        )
        self._name, self._encode = opened.name, derivation.encode

    def length(self, number: int) -> int:
        _, first, last = self._shards[number]
        return last - first

    def write(
        self, numbers: Sequence[int], batch_size: int, bad_records: BadRecordConfig, progress: Progress
    ) -> None:
        source = _Source(
            self._name, self._encode, allowed(self.num_records, bad_records), progress, self.writer
        )
        for number in numbers:
            failures: list[str] = []
            entries = source.entries(*self._shards[number], batch_size, failures)
            self.writer.write_shard(number, entries, failures)


class _Source:
    """Entries of shards; counts the records that are left out.

    Args:
        name: of the dataset.
        encode: see `Derivation`.
        limit: how many records may be left out.
        progress: of the records.
        writer: lists the records that were left out if they are too many.
    """

    def __init__(
        self,
        name: str,
        encode: Callable[[list[Record]], Sequence[np.ndarray | None]],
        limit: int,
        progress: Progress,
        writer: SidecarWriter,
    ) -> None:
        self._name, self._encode, self._limit, self._progress = name, encode, limit, progress
        self._writer = writer
        self._failures: list[str] = []  # of all shards
        self._of_shard: list[str] = []

    def entries(
        self, records: Sequence[Record], first: int, last: int, batch_size: int, failures: list[str]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """(clip id, array) of records [first, last); those without an array are left out, into `failures`."""
        self._of_shard = failures
        for begin in range(first, last, batch_size):
            end = min(begin + batch_size, last)
            batch = [record for i in range(begin, end) if (record := self._read(records, i)) is not None]
            for record, array in zip(batch, self._arrays(batch), strict=True):
                if array is not None:
                    yield text(record["id"]), np.asarray(array)
            self._progress.advance(end - begin)

    def _read(self, records: Sequence[Record], index: int) -> Record | None:
        try:
            return records[index]
        except UserError as error:
            self._leave_out(f"#{index}", error)
            return None

    def _arrays(self, batch: list[Record]) -> Sequence[np.ndarray | None]:
        try:
            arrays = self._encode(batch)
        except UserError as error:
            if len(batch) == 1:
                self._leave_out(text(batch[0]["id"]), error)
                return [None]
            return [array for record in batch for array in self._arrays([record])]
        if len(arrays) != len(batch):
            raise ValueError(f"encode gave {len(arrays)} arrays of {len(batch)} records")
        return arrays

    def _leave_out(self, clip: str, error: UserError) -> None:
        reason = str(error).removeprefix(f"{self._name}:").removeprefix(f"{clip}: ")
        line = {"id": clip, "stage": self._writer.kind, "reason": reason}
        for listed in (self._failures, self._of_shard):
            listed.append(json.dumps(line, ensure_ascii=False) + "\n")
        if len(self._failures) > self._limit:
            path = self._writer.list_failures("".join(self._failures).encode())
            raise UserError(
                f"{self._name}: {len(self._failures)} records cannot be used, and bad_records.max_share "
                f"accepts {self._limit}; {path} lists them, the last: {error}"
            ) from error
        self._progress.note(f"{self._name}: left out: {error}")
