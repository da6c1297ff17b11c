"""One built dataset: TFDS in ArrayRecord files with the features of `record.RECORD`, from any writer."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError

from dualdub_jax.data_pipeline import older_records
from dualdub_jax.data_pipeline.fingerprint import fingerprint_files
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.data_pipeline.shards import ShardRecords, check_shards
from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import reached
from dualdub_jax.stores.local_copy import local_copy
from dualdub_jax.stores.path import StorePath, as_path, find_files

# Written last: a folder without it is no dataset.
INFO_FILE = "dataset_info.json"


class Dataset:
    """An opened dataset; records of earlier schemas are adapted (`older_records.py`).

    ArrayRecord reads local files only. Of a dataset on an object store, the shards of a split are copied to
    the local disk when `records` opens it (`stores/local_copy.py`).

    Args:
        folder: that holds `dataset_info.json`; local or on an object store.
        name: for errors; None is the dataset's own, "builder/config".

    Raises:
        UserError: no dataset there, damaged JSON, files in another format, or features other than those of
            `RECORD`.
    """

    def __init__(self, folder: str | os.PathLike[str], name: str | None = None) -> None:
        self.folder = reached(as_path(folder))
        if not (self.folder / INFO_FILE).is_file():
            raise UserError(f"{folder}: no dataset there; give a folder that holds {INFO_FILE}")
        self._local_folder = local_copy(self.folder, ".json")
        try:
            self._builder = tfds.builder_from_directory(str(self._local_folder))
        except (ParseError, ValueError, OSError) as error:
            first_line = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(
                f"{self.folder}: its dataset_info.json or features.json cannot be read ({first_line}); copy "
                "them again, or build the dataset again"
            ) from error
        info = self._builder.info
        self.name = name or info.full_name.rpartition("/")[0]
        self._fields = set(info.features)
        missing = older_records.missing_fields(self._fields)
        if missing:
            raise UserError(
                f"{self.name}: its records lack {', '.join(missing)}; "
                "use dualdub_jax.data_pipeline.record.record_features() in its builder"
            )
        if info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
            raise UserError(
                f"{self.name}: is in {info.file_format.value} files, which have no random access; "
                'write it again with file_format="array_record"'
            )

    @property
    def splits(self) -> list[str]:
        """Names of the splits that hold clips."""
        return [name for name, info in self._builder.info.splits.items() if info.num_examples]

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the build kept beside the records: "recipe", "dropped"; empty for datasets of others."""
        path = self._local_folder / "metadata.json"
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); copy it again, or remove it") from error

    def num_bytes(self, split: str) -> int:
        """Size of a split on disk, bytes."""
        return self._builder.info.splits[split].num_bytes

    def fingerprint(self, split: str) -> str:
        """Identifies the bytes of a split; see `fingerprint_files`."""
        return fingerprint_files(self._builder.info.splits[split].filepaths)

    def records(self, split: str) -> Sequence[Record]:
        """Random access to a split's records, safe to read from threads and to send to processes.

        Reading a damaged record is a `UserError` that names its file.

        Raises:
            UserError: no such split, an empty one, or a missing or damaged file.
        """
        splits = self._builder.info.splits
        if split not in splits:
            raise UserError(
                f"{self.name}: has no split {split!r}; it has {', '.join(sorted(splits)) or 'none'}"
            )
        if splits[split].num_examples == 0:
            raise UserError(f"{self.name}: its split {split!r} is empty; build it with at least one clip")
        local_copy(self.folder, f"-{split}.array_record")
        files = splits[split].file_instructions
        check_shards(files, self.name)
        records = ShardRecords(self._builder.as_data_source(split=split), files, self.name)
        return older_records.adapt(records, self._fields)


def find_datasets(folder: str | os.PathLike[str]) -> list[StorePath]:
    """Folders of all datasets at or below `folder`, every version of them, sorted.

    Raises:
        UserError: there is none.
    """
    found = [path.parent for path in find_files(reached(as_path(folder)), INFO_FILE)]
    if not found:
        raise UserError(
            f"{folder}: no dataset there; make one with `dualdub data build puppet_stage --out DIR`"
        )
    return found
