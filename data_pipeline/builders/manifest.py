"""`dualdub data build manifest`: a table of clips, .csv, .tsv or .jsonl."""

import argparse
import collections
import csv
import dataclasses
import io
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from dualdub_jax.data_pipeline.builders.base import Dropped, Item
from dualdub_jax.data_pipeline.builders.clips.builder import ClipBuilder
from dualdub_jax.data_pipeline.builders.clips.media_file import MediaFile, printable
from dualdub_jax.data_pipeline.builders.clips.rows import clip_of_row, find_columns, parse_columns
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip
from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import store_errors
from dualdub_jax.stores.path import StorePath, as_path

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_LINES = (".jsonl", ".ndjson")

Row = tuple[int, Mapping[str, Any] | str]  # number, from 1; cells, or what is wrong with the row


@dataclasses.dataclass(frozen=True)
class Manifest(ClipBuilder):
    """A table with a row for each clip or film: its files, its text, and what else is known.

    Paths in it are relative to its folder. In .csv and .tsv, an empty text is unknown; in .jsonl "" is a clip
    without speech.

    Attributes:
        columns: "USE=COLUMN" for columns that are not found by name.
    """

    columns: tuple[str, ...] = ()

    name: ClassVar[str] = "manifest"
    description: ClassVar[str] = "Clips of a table: video, sound, stems, text and more."
    source_metavar: ClassVar[str] = "FILE"
    source_help: ClassVar[str] = "a .csv, .tsv or .jsonl file with a row for each clip"
    example: ClassVar[str] = "--source clips.csv --column text=transcript --licence-allow CC-BY-4.0,CC0-1.0"

    @classmethod
    def add_arguments(cls, parser: argparse._ActionsContainer) -> None:
        super().add_arguments(parser)
        add = parser.add_argument
        add("--column", dest="columns", action="append", default=[], metavar="USE=COLUMN",
            help="column that is not found by its name; uses: id, video, audio (mix), speech, background, "
            "voice, file, text, words, speaker, language, licence, split, start, end")  # fmt: skip

    def plain_name(self, name: str) -> str:
        return pathlib.PurePosixPath(name).stem

    def check_source(self) -> None:
        path = as_path(self.source)
        suffix = pathlib.PurePosixPath(path.name).suffix.lower()
        if suffix not in (*_SEPARATORS, *_LINES):
            raise UserError(f"{self.source}: expected a .csv, .tsv or .jsonl file; give one, or use `folder`")
        with store_errors(path):
            if not path.is_file():
                raise UserError(f"{self.source}: no such file; give the table of your clips")
        self._columns()
        if next(self._rows(), None) is None:
            raise UserError(f"{self.source}: has no rows; write one for each clip")

    def files(self) -> Sequence[StorePath]:
        media = {
            file for clip in self._clips() if isinstance(clip, SourceClip) for file in clip.media.values()
        }
        return [as_path(self.source), *sorted(media, key=str)]

    def items(self) -> Iterator[tuple[Item, str]]:
        return self.split_items(self._clips())

    def _clips(self) -> Iterator[SourceClip | Dropped]:
        columns = self._columns()
        seen: collections.Counter[str] = collections.Counter()
        for number, row in self._rows():
            where = f"row {number}"
            try:
                if isinstance(row, str):
                    raise ValueError(row)
                name = self._name_of(row, columns, number)
                clip = clip_of_row(row, columns, name, self._media)
            except (ValueError, UserError) as error:
                yield Dropped(where, "bad row", str(error), "manifest")
                continue
            seen[clip.id] += 1
            if seen[clip.id] > 1:
                if "id" in columns:
                    yield Dropped(clip.id, "id is there twice", where, "manifest")
                    continue
                clip = dataclasses.replace(clip, id=f"{clip.id}#{number}")
            yield clip

    def _name_of(self, row: Mapping[str, Any], columns: Mapping[str, str], number: int) -> str:
        """An id by the first file of a row, which stays when rows are added."""
        for use in ("video", "audio", "file", "speech", "background"):
            value = row.get(columns.get(use, ""))
            if isinstance(value, str) and value:
                start = row.get(columns.get("start", ""))
                return printable(value) + (f"@{start}" if start not in (None, "") else "")
        return f"row {number}"

    def _media(self, value: Any) -> MediaFile | None:
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise ValueError(f"{str(value)[:60]!r} is no path")
        folder = as_path(self.source).parent
        return as_path(value) if "://" in value or value.startswith("/") else folder / value

    def _columns(self) -> dict[str, str]:
        names: dict[str, None] = {}
        if self._separator is None:
            for _, row in self._rows():
                names.update(dict.fromkeys(row if isinstance(row, Mapping) else ()))
        else:
            names = dict.fromkeys(self._table().fieldnames or ())
        return find_columns(names, parse_columns(self.columns), str(self.source))

    @property
    def _separator(self) -> str | None:
        return _SEPARATORS.get(pathlib.PurePosixPath(as_path(self.source).name).suffix.lower())

    def _table(self) -> csv.DictReader:
        csv.field_size_limit(sys.maxsize)
        return csv.DictReader(self._lines(), delimiter=self._separator, restkey="", strict=True)

    def _lines(self) -> io.StringIO:
        path = as_path(self.source)
        with store_errors(path):
            text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
        return io.StringIO(text, newline="")

    def _rows(self) -> Iterator[Row]:
        if self._separator is None:
            for number, line in enumerate(self._lines(), start=1):
                if line.strip():
                    yield number, _json_row(line)
            return
        table = self._table()
        number = 0
        while True:
            number += 1
            try:
                row = next(table)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, f"cannot be read as a table: {error}"
                continue
            extra, missing = row.pop("", None), [name for name, cell in row.items() if cell is None]
            if extra or missing:
                found = len(row) + len(extra or ()) - len(missing)
                yield number, f"has {found} cells, and the header {len(row)}"
            else:
                # An empty cell of a table is nothing; only JSON can say "no speech".
                yield number, {name: cell.strip() or None for name, cell in row.items()}


def _json_row(line: str) -> Mapping[str, Any] | str:
    try:
        row = json.loads(line)
        # Bytes of any encoding may name files; half a surrogate pair names nothing.
        json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "has half of a surrogate pair"
    except ValueError as error:
        return f"is not JSON: {error}"
    return row if isinstance(row, Mapping) else "is not a JSON object"
