"""The ArrayRecord files of a split: damage is found when they are opened, and named when a record is read."""

import itertools
import os
import pathlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader
from google.protobuf.message import DecodeError

from dualdub_jax.errors import UserError

_NUM_THREADS = 16  # files that are opened at the same time
_MEND = "copy the file again, or build the dataset again"
# What the record reader and the decoding of a record's fields raise for bytes that are not what was written.
_DAMAGE = (RuntimeError, ValueError, KeyError, IndexError, TypeError, DecodeError)


def open_shard(path: str | os.PathLike[str], name: str) -> ArrayRecordReader:
    """Opens an ArrayRecord file without reading ahead.

    Args:
        path: the file.
        name: of the dataset, for errors.

    Raises:
        UserError: the file is missing, cannot be read, or is cut off, overwritten or no ArrayRecord file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"{name}: its file {path} is missing; {_MEND}")
    if not os.access(path, os.R_OK):
        raise UserError(f"{name}: its file {path} cannot be read (permission denied); make it readable")
    try:
        reader = ArrayRecordReader(str(path), options="readahead_buffer_size:0")
        if not reader.ok():
            reader.close()  # which raises what is wrong
    except RuntimeError as error:
        what = "is empty" if not path.stat().st_size else f"is damaged ({_first_part(error)})"
        raise UserError(f"{name}: its file {path} {what}; {_MEND}") from error
    return reader


def check_shards(files: Sequence[Any], name: str) -> None:
    """Opens every file of a split and counts its records.

    Args:
        files: TFDS's instructions: `filename`, and `examples_in_shard`, the number of its records.
        name: of the dataset, for errors.

    Raises:
        UserError: as `open_shard`; or a file that holds another number of records.
    """

    def check(file: Any) -> None:
        reader = open_shard(file.filename, name)
        found = reader.num_records()
        reader.close()
        if found != file.examples_in_shard:
            raise UserError(
                f"{name}: its file {file.filename} holds {found} records, and dataset_info.json says "
                f"{file.examples_in_shard}; {_MEND}"
            )

    with ThreadPoolExecutor(min(len(files), _NUM_THREADS)) as pool:
        list(pool.map(check, files))


class ShardRecords(Sequence):
    """Random access to the records of a split; a damaged one is a `UserError` that names its file.

    Args:
        records: as TFDS reads them.
        files: see `check_shards`.
        name: of the dataset.
    """

    def __init__(self, records: Sequence[Any], files: Sequence[Any], name: str) -> None:
        self._records, self._name = records, name
        self._files = [(os.fspath(file.filename), file.take) for file in files]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)  # which ends an iteration
        try:
            return self._records[index]
        except _DAMAGE as error:
            raise UserError(
                f"{self._name}:#{index}: is damaged in {self._file(index)} ({_first_part(error)}); {_MEND}"
            ) from error

    def _file(self, index: int) -> str:
        ends = itertools.accumulate(num_records for _, num_records in self._files)
        return next(path for (path, _), end in zip(self._files, ends, strict=True) if index < end)


def _first_part(error: BaseException) -> str:
    """The cause in an error of the record reader, without byte positions and the stack of its readers."""
    return str(error).partition(";")[0].partition(" (")[0].partition(", ")[0] or type(error).__name__
