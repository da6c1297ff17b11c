"""`dualdub data build parquet`: tables as Hugging Face `datasets` writes them, with media in their cells.

Columns are those of a manifest. A cell of media is `{"bytes": …, "path": …}`, as the features Audio and Video
store it, or a path relative to the file. A file's split is in its name: `train-00000-of-00010.parquet`.
Source: https://huggingface.co/docs/datasets/audio_dataset and /docs/hub/datasets-file-names-and-splits.
"""

import argparse
import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import pyarrow.parquet

from dualdub_jax.data_pipeline.builders.base import Dropped, Item
from dualdub_jax.data_pipeline.builders.clips.builder import ClipBuilder
from dualdub_jax.data_pipeline.builders.clips.media_file import Embedded, MediaFile
from dualdub_jax.data_pipeline.builders.clips.rows import clip_of_row, find_columns, parse_columns
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip
from dualdub_jax.errors import UserError
from dualdub_jax.stores.local_copy import local_copy
from dualdub_jax.stores.path import StorePath, as_path, find_files

_SPLIT = re.compile(r"(?:^|[-_./])(train|training|validation|valid|val|dev|test|testing|eval)(?:[-_./]|$)")


class RowGroup(NamedTuple):
    """A part of a file, read row by row; of its rows those of one split.

    Attributes:
        file: the file.
        number: of the group in the file.
        first_row: of the group in the file.
        columns: use -> column.
        split: of the rows.
        file_split: of all rows of the file, if its name has one.
    """

    file: StorePath
    number: int
    first_row: int
    columns: Mapping[str, str]
    split: str
    file_split: str


@dataclasses.dataclass(frozen=True)
class Parquet(ClipBuilder):
    """Rows of parquet files, with media as bytes or paths.

    Attributes:
        columns: "USE=COLUMN" for columns that are not found by name.
    """

    columns: tuple[str, ...] = ()

    name: ClassVar[str] = "parquet"
    description: ClassVar[str] = "Rows of parquet files as Hugging Face datasets write them."
    unit: ClassVar[str] = "row groups"
    source_metavar: ClassVar[str] = "DIR|FILE"
    source_help: ClassVar[str] = "a .parquet file, or a folder with them; also gs:// or s3://"
    example: ClassVar[str] = "--source my_dataset/data --name clips --column text=sentence"

    @classmethod
    def add_arguments(cls, parser: argparse._ActionsContainer) -> None:
        super().add_arguments(parser)
        add = parser.add_argument
        add("--column", dest="columns", action="append", default=[], metavar="USE=COLUMN",
            help="a column that is not found by its name, as for the builder manifest")  # fmt: skip

    def plain_name(self, name: str) -> str:
        return name.removesuffix(".parquet")

    def check_source(self) -> None:
        if not self.files():
            raise UserError(f"{self.source}: no .parquet file there; give the folder of a saved dataset")
        for file in self.files():
            self._open(file)

    def files(self) -> Sequence[StorePath]:
        path = as_path(self.source)
        if path.name.endswith(".parquet"):
            return [path] if path.is_file() else []
        return [file for file in find_files(path, "*") if file.name.endswith(".parquet")]

    def items(self) -> Iterator[tuple[Item, str]]:
        for file in self.files():
            table, columns = self._open(file)
            match = _SPLIT.search(str(file).removeprefix(str(as_path(self.source).parent)))
            file_split = match[1] if match else ""
            first_row = 0
            for number in range(table.num_row_groups):
                num_rows = table.metadata.row_group(number).num_rows
                rows = range(first_row, first_row + num_rows)
                named = [file_split] * num_rows
                if "split" in columns:
                    column = table.read_row_group(number, columns=[columns["split"]]).column(0)
                    named = [split or file_split for split in column.to_pylist()]
                splits = {self._split_of(file, row, split) for row, split in zip(rows, named, strict=True)}
                for split in sorted(splits):
                    yield RowGroup(file, number, first_row, columns, split, file_split), split
                first_row += num_rows

    def clips(self, item: RowGroup) -> Iterator[SourceClip | Dropped]:
        place = item.first_row
        try:
            for place, row in enumerate(_rows(item), start=item.first_row):
                yield from self._clip_of(item, place, row)
        except (pyarrow.ArrowException, OSError) as error:
            name = f"{self._row_name(item.file, place)} and after"
            yield Dropped(name, "damaged row group", f"{error}; copy {item.file.name} again", "table")

    def _clip_of(self, item: RowGroup, place: int, row: Mapping[str, Any]) -> Iterator[SourceClip | Dropped]:
        """The clip of a row; none if it is of another split."""
        split = row.get(item.columns.get("split", "")) or item.file_split
        if self._split_of(item.file, place, split) != item.split:
            return
        name = self._row_name(item.file, place)
        try:
            yield clip_of_row(row, item.columns, name, lambda value: _medium(value, item.file))
        except (ValueError, UserError) as error:
            yield Dropped(name, "bad row", str(error), "table")

    def _split_of(self, file: StorePath, row: int, named: str) -> str:
        """The split of a row: the named one, or by a hash of its place; "train" has rows with a bad one."""
        try:
            return SourceClip(self._row_name(file, row), {}, split=str(named)).split_of(self.val_share)
        except ValueError:
            return "train"

    def _row_name(self, file: StorePath, row: int) -> str:
        root = as_path(self.source)
        name = file.name if file == root else str(file).removeprefix(f"{root}/")
        return f"{name}#{row}"

    def _open(self, file: StorePath) -> tuple[pyarrow.parquet.ParquetFile, dict[str, str]]:
        try:
            table = pyarrow.parquet.ParquetFile(local_copy(file))
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(
                f"{file}: is no parquet file ({error}); copy it again, or take it away"
            ) from error
        return table, find_columns(table.schema_arrow.names, parse_columns(self.columns), str(file))


def _rows(item: RowGroup) -> Iterator[Mapping[str, Any]]:
    """The rows of a group one by one, since rows hold films."""
    table = pyarrow.parquet.ParquetFile(local_copy(item.file), pre_buffer=False)
    names = list(dict.fromkeys(item.columns.values()))
    batches = table.iter_batches(batch_size=1, row_groups=[item.number], columns=names, use_threads=False)
    return (batch.to_pylist()[0] for batch in batches)


def _medium(value: Any, file: StorePath) -> MediaFile | None:
    if value is None or value == "":
        return None
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path") or ""
        if data is not None:  # also of an empty file, which is then named as one
            return Embedded(data, pathlib.PurePosixPath(path).name or "medium")
        value = path
    if isinstance(value, bytes):
        return Embedded(value, "medium")
    if not isinstance(value, str) or not value:
        raise ValueError("its medium has neither bytes nor a path")
    return as_path(value) if "://" in value or value.startswith("/") else file.parent / value
