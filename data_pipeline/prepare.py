"""`dualdub data prepare`: what frozen encoders derive from a dataset's records, into sidecars."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import rich.console

from dualdub_jax.data_pipeline.dataset import Dataset
from dualdub_jax.data_pipeline.disk_errors import disk_errors
from dualdub_jax.data_pipeline.progress import Progress
from dualdub_jax.data_pipeline.record import Record, text
from dualdub_jax.data_pipeline.sidecars import SidecarStore, SidecarWriter, is_complete, sidecar_folder


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
    console: rich.console.Console | None = None,
) -> SidecarStore:
    """Derives a sidecar from all records of a dataset; what is already there is not made again.

    Args:
        dataset: a dataset's folder, the one that holds `dataset_info.json`.
        kind: see `Derivation`.
        fingerprint: see `Derivation`.
        encode: see `Derivation`; gets `batch_size` records at a time, the last ones of a shard fewer.
        batch_size: records in memory at a time.
        shard_size: records of a shard, which is what an interruption may lose.
        console: where to report; None is standard error.

    Raises:
        UserError: no dataset there, or a record that `encode` refuses.
        ValueError: `encode` gives another number of arrays than it gets records.
    """
    console = console or rich.console.Console(stderr=True)
    opened = Dataset(dataset)
    splits = [opened.records(split) for split in sorted(opened.splits)]
    # A shard never spans two splits: (records, first, last).
    shards = [
        (records, first, min(first + shard_size, len(records)))
        for records in splits
        for first in range(0, len(records), shard_size)
    ]
    label = f"{opened.name} {kind}"
    folder = sidecar_folder(opened.folder, kind, fingerprint)
    if is_complete(folder):
        console.print(f"{label}: already prepared in {folder}", soft_wrap=True)
        return SidecarStore.open(opened.folder, kind, fingerprint)
    writer = SidecarWriter(folder, kind, fingerprint, len(shards), shard_size)
    with (
        disk_errors(folder, "make it writable"),
        Progress(console, label, sum(map(len, splits)), "clips") as progress,
    ):
        writer.begin()
        missing = set(writer.missing_shards())
        for number, (records, first, last) in enumerate(shards):
            if number in missing:
                writer.write_shard(number, _entries(records, first, last, encode, batch_size, progress))
            else:
                progress.advance(last - first)
        return writer.finish()


def _entries(
    records: Sequence[Record],
    first: int,
    last: int,
    encode: Callable[[list[Record]], Sequence[np.ndarray | None]],
    batch_size: int,
    progress: Progress,
) -> Iterator[tuple[str, np.ndarray]]:
    """(clip id, array) of records [first, last), those without an array left out."""
    for begin in range(first, last, batch_size):
        batch = [records[i] for i in range(begin, min(begin + batch_size, last))]
        arrays = encode(batch)
        if len(arrays) != len(batch):
            raise ValueError(f"encode gave {len(arrays)} arrays of {len(batch)} records")
        for record, array in zip(batch, arrays, strict=True):
            if array is not None:
                yield text(record["id"]), np.asarray(array)
        progress.advance(len(batch))
