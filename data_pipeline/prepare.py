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
        failures = Failures(opened.name, plan.writer, allowed(plan.num_records, bad_records))
        if elsewhere is not None:
            elsewhere(missing)
            failures.read()
        else:
            plan.write(missing, batch_size, failures, progress)
        return plan.writer.finish()


def write_shards(
    dataset: StorePath,
    derivation: Derivation,
    numbers: Sequence[int],
    *,
    batch_size: int = 16,
    shard_size: int = 512,
) -> None:
    """Writes some shards of a sidecar that `prepare` has begun, on this or on another machine.

    Args:
        dataset: its folder.
        derivation: what is stored.
        numbers: of the shards; those that are there are left alone. How many records all of them leave out
            is checked by `prepare`.
        batch_size: see `prepare`.
        shard_size: see `prepare`.

    Raises:
        UserError: no dataset there.
        ValueError: as `prepare`.
    """
    plan = _Plan(Dataset(dataset), derivation, shard_size)
    missing = set(plan.writer.missing_shards())
    console = rich.console.Console(stderr=True)
    with store_errors(plan.folder), disk_errors(plan.folder, "make it writable"):
        numbers = [number for number in numbers if number in missing]
        failures = Failures(plan.name, plan.writer, None)
        plan.write(numbers, batch_size, failures, Progress(console, derivation.kind, 1, "shards"))


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
        self.name, self._encode = opened.name, derivation.encode

    def length(self, number: int) -> int:
        _, first, last = self._shards[number]
        return last - first

    def write(
        self, numbers: Sequence[int], batch_size: int, failures: "Failures", progress: Progress
    ) -> None:
        source = _Source(self.name, self._encode, failures, progress)
        for number in numbers:
            of_shard: list[str] = []
            entries = source.entries(*self._shards[number], batch_size, of_shard)
            self.writer.write_shard(number, entries, of_shard)


class Failures:
    """Records that are left out of all shards, also of those that earlier runs have written.

    Args:
        name: of the dataset.
        writer: of the shards; lists the records that were left out if they are too many.
        limit: how many may be; None: any number.

    Raises:
        UserError: earlier runs have left out too many.
    """

    def __init__(self, name: str, writer: SidecarWriter, limit: int | None) -> None:
        self.kind = writer.kind
        self._name, self._writer, self._limit = name, writer, limit
        self._lines: list[str] = []
        if limit is not None:
            self.read()

    def read(self) -> None:
        """Counts those of the shards that are written.

        Raises:
            UserError: too many.
        """
        self._lines = self._writer.failures()
        if self._lines:
            self._check(None)

    def add(self, line: str, error: UserError) -> None:
        """Counts another one.

        Raises:
            UserError: too many.
        """
        self._lines.append(line)
        self._check(error)

    def _check(self, error: UserError | None) -> None:
        if self._limit is None or len(self._lines) <= self._limit:
            return
        path = self._writer.list_failures("".join(self._lines).encode())
        last = json.loads(self._lines[-1])
        raise UserError(
            f"{self._name}: {len(self._lines)} records cannot be used, and bad_records.max_share accepts "
            f"{self._limit}; {path} lists them, the last: {error or last['id'] + ': ' + last['reason']}"
        ) from error


class _Source:
    """Entries of shards.

    Args:
        name: of the dataset.
        encode: see `Derivation`.
        failures: counts the records that are left out.
        progress: of the records.
    """

    def __init__(
        self,
        name: str,
        encode: Callable[[list[Record]], Sequence[np.ndarray | None]],
        failures: Failures,
        progress: Progress,
    ) -> None:
        self._name, self._encode, self._failures, self._progress = name, encode, failures, progress
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
        line = {"id": clip, "stage": self._failures.kind, "reason": reason}
        self._of_shard.append(json.dumps(line, ensure_ascii=False) + "\n")
        self._failures.add(self._of_shard[-1], error)
        self._progress.note(f"{self._name}: left out: {error}")
