"""Parquet files as Hugging Face writes them: media in cells, splits by name, column or hash."""

import pathlib
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.build import build
from dualdub_jax.errors import UserError
from tests.data_pipeline.builders.corpora import build_one, clips_of, failures_of, write_sound
from tests.films import make_film


def _write(path: pathlib.Path, rows: list[dict[str, Any]], rows_per_group: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=rows_per_group)


def _sound(folder: pathlib.Path, **options: Any) -> dict[str, Any]:
    path = write_sound(folder / "sound.flac", 1.2, rate_hz=24_000, **options)
    return {"bytes": path.read_bytes(), "path": "sound.flac"}


def test_media_in_cells_become_records(tmp_path: pathlib.Path) -> None:
    film = make_film(tmp_path / "film.mp4", has_audio=True)
    rows = [
        {"video": {"bytes": film.read_bytes(), "path": None}, "audio": None, "sentence": None, "id": "film"},
        {"video": None, "audio": _sound(tmp_path), "sentence": "Hello there", "id": "said"},
        {"video": {"bytes": None, "path": "beside.mp4"}, "audio": None, "sentence": None, "id": "beside"},
        {"video": None, "audio": {"bytes": b"nothing", "path": "x.wav"}, "sentence": None, "id": "broken"},
        {"video": None, "audio": None, "sentence": "only text", "id": "none"},
    ]
    _write(tmp_path / "corpus" / "data" / "train-00000-of-00002.parquet", rows[:3])
    _write(tmp_path / "corpus" / "data" / "test-00000-of-00001.parquet", rows[1:2])
    _write(tmp_path / "corpus" / "data" / "train-00001-of-00002.parquet", rows[3:])
    (tmp_path / "corpus" / "data" / "beside.mp4").write_bytes(film.read_bytes())
    dataset, _ = build_one("parquet", tmp_path / "out", source=tmp_path / "corpus", licence="CC0-1.0")
    assert set(dataset.splits) == {"test", "train"}
    clips = clips_of(dataset)
    # "said" is an id of both splits, and sidecars of all splits are read by id.
    assert list(clips) == ["beside", "film", "train/said"]
    assert clips["film"]["video"] and clips["film"]["background"]
    assert record.script(clips["train/said"]) == "hello there" and not clips["train/said"]["video"]
    assert list(clips_of(dataset, "test")) == ["said"]
    assert [(line["id"], line["stage"]) for line in failures_of(dataset)] == [
        ("broken", "open"), ("data/train-00001-of-00002.parquet#1", "table")
    ]  # fmt: skip


def test_splits_of_a_column_and_of_a_hash(tmp_path: pathlib.Path) -> None:
    rows = [{"audio": _sound(tmp_path), "split": "valid" if i % 3 == 0 else "train"} for i in range(9)]
    _write(tmp_path / "rows.parquet", rows, rows_per_group=4)
    dataset, _ = build_one("parquet", tmp_path / "out", source=tmp_path / "rows.parquet", dataset="a")
    assert len(clips_of(dataset)) == 6 and len(clips_of(dataset, "validation")) == 3
    _write(tmp_path / "rows.parquet", [{"audio": row["audio"]} for row in rows], rows_per_group=4)
    dataset, _ = build_one(
        "parquet", tmp_path / "out", source=tmp_path / "rows.parquet", dataset="b", val_share=0.5
    )
    train, validation = clips_of(dataset), clips_of(dataset, "validation")
    assert train and validation and len(train) + len(validation) == 9 and not set(train) & set(validation)


def test_rows_and_groups_that_are_damaged_are_named(tmp_path: pathlib.Path) -> None:
    good = {"audio": _sound(tmp_path), "split": "dev"}
    empty = {"audio": {"bytes": b"", "path": "empty.wav"}, "split": "dev"}
    rows = [good, empty, good | {"split": "../x"}, good, good, good]
    _write(tmp_path / "rows.parquet", rows, rows_per_group=2)
    file = pyarrow.parquet.ParquetFile(tmp_path / "rows.parquet")
    column = next(
        found
        for found in map(file.metadata.row_group(2).column, range(file.metadata.num_columns))
        if found.path_in_schema.endswith("bytes")
    )
    content = bytearray((tmp_path / "rows.parquet").read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + 24] = bytes(24)  # the header of the page
    (tmp_path / "rows.parquet").write_bytes(content)
    dataset, _ = build_one("parquet", tmp_path / "out", source=tmp_path / "rows.parquet")
    assert dataset.splits == ["validation"]
    assert list(clips_of(dataset, "validation")) == ["rows.parquet#0", "rows.parquet#3"]
    failures = {line["id"]: line for line in failures_of(dataset)}
    assert list(failures) == ["rows.parquet#2", "rows.parquet#1", "rows.parquet#4 and after"]
    assert failures["rows.parquet#1"]["detail"].startswith("empty.wav: the file is empty")
    assert failures["rows.parquet#2"]["detail"].startswith("its split is '../x'")
    assert failures["rows.parquet#4 and after"]["reason"] == "damaged row group"
    assert failures["rows.parquet#4 and after"]["detail"].endswith("copy rows.parquet again")


def test_an_id_that_is_there_twice_is_kept_once(tmp_path: pathlib.Path) -> None:
    _write(tmp_path / "rows.parquet", [{"audio": _sound(tmp_path), "id": name} for name in ("a", "b", "a")])
    dataset, _ = build_one("parquet", tmp_path / "out", source=tmp_path / "rows.parquet")
    assert list(clips_of(dataset)) == ["a", "b"]
    assert failures_of(dataset) == [
        {"id": "a", "reason": "id is there twice", "detail": "", "stage": "write"}
    ]


def test_bad_sources_are_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError, match=r"no \.parquet file there"):
        build("parquet", tmp_path / "out", source=tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"a\.parquet: is no parquet file"):
        build("parquet", tmp_path / "out", source=tmp_path)
    _write(tmp_path / "a.parquet", [{"label": 1}])
    with pytest.raises(UserError, match="no column of media among label"):
        build("parquet", tmp_path / "out", source=tmp_path)
