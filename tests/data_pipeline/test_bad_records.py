"""Records that cannot be used: replaced alike in every process and after a resume, and reported."""

import contextlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from dualdub_jax.config import Config, SourceConfig, StageConfig
from dualdub_jax.data_pipeline import loader
from dualdub_jax.data_pipeline.batch_iterator import BatchIterator
from dualdub_jax.data_pipeline.dataset import Dataset
from dualdub_jax.errors import UserError
from tests.data_pipeline.test_loader import GRID, STREAMS_OF_LEVELS, assert_same, make_codecs, take
from tests.labelled_clips import labelled_record, write_clips

BAD = {
    "no_film": {"video": b"garbage"},
    "no_sound": {"speech": b"garbage"},
    "long": {"script": "say " * 60},
    "no_events": {"events": "{"},
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bad")
    good = [labelled_record(f"good_{i}") for i in range(8)]
    write_clips(folder, good + [labelled_record(name, **fields) for name, fields in BAD.items()])
    return str(folder)


def batches(data_dir: str, **options: Any) -> contextlib.closing:
    config = Config(data_dir=data_dir, grid=GRID, streams=STREAMS_OF_LEVELS)
    stage = StageConfig(name="stage", mixture=(SourceConfig("clips"),), batch_size=4)
    return contextlib.closing(loader.make_batches(config, stage, make_codecs(), seed=1, **options))


def with_reports(iterator: BatchIterator, count: int) -> list[tuple[dict, list]]:
    return [(next(iterator), iterator.bad_records) for _ in range(count)]


def test_bad_records_are_replaced_and_reported(data_dir: str) -> None:
    with batches(data_dir) as iterator:
        found = with_reports(iterator, 6)  # two epochs
    ids = {clip for batch, _ in found for clip in batch["example_ids"]}
    assert ids == {f"clips:good_{i}" for i in range(8)}
    reported = [bad for _, bads in found for bad in bads]
    assert {bad.id for bad in reported} == {f"clips:{name}" for name in BAD}
    assert {(bad.dataset, bad.num_records) for bad in reported} == {("clips", 12)}
    reasons = {bad.id.partition(":")[2]: bad.reason for bad in reported}
    assert reasons["no_film"].startswith("its video cannot be decoded")
    assert reasons["no_sound"].startswith("its speech stem cannot be decoded: Format not recognised")
    assert reasons["long"].startswith("its script has")
    assert reasons["no_events"].startswith("its events are no JSON object")


def test_replacements_are_the_same_in_workers_and_after_a_resume(data_dir: str) -> None:
    with batches(data_dir) as iterator:
        expected = with_reports(iterator, 2)
        state = json.loads(json.dumps(iterator.get_state()))
        expected += with_reports(iterator, 2)
    with batches(data_dir, num_workers=1) as iterator:
        iterator.set_state(state)
        resumed = with_reports(iterator, 2)
    for (batch, bad), (other, other_bad) in zip(resumed, expected[2:], strict=True):
        assert_same(batch, other)
        assert bad == other_bad


def test_a_single_pass_names_the_first_bad_record(data_dir: str) -> None:
    with batches(data_dir, repeat=False) as iterator, pytest.raises(UserError, match=r"^clips:\w+: its|has"):
        take(iterator, 3)


def test_a_dataset_without_a_usable_record_is_named(tmp_path: pathlib.Path) -> None:
    write_clips(tmp_path, [labelled_record("x", video=b"garbage")])
    with (
        batches(str(tmp_path)) as iterator,
        pytest.raises(UserError, match=r"clips: 100 records .* its video"),
    ):
        next(iterator)


def damaged(folder: pathlib.Path, damage: Callable[[pathlib.Path], Any]) -> tuple[Dataset, pathlib.Path]:
    """A dataset, and its file with damage done to it."""
    path = write_clips(folder, [labelled_record(f"x{i}") for i in range(8)])
    (file,) = path.glob("*train*array_record*")
    damage(file)
    return Dataset(path), file


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: file.write_bytes(b""), "is empty"),
        (lambda file: file.write_text("text " * 50_000), "is damaged"),
        (lambda file: file.write_bytes(file.read_bytes()[:100]), "is damaged"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1000]), "is damaged"),
        (lambda file: file.write_bytes(bytes(file.stat().st_size)), "is damaged"),
    ],
)
def test_a_damaged_file_is_named_when_it_is_opened(
    tmp_path: pathlib.Path, damage: Callable, message: str
) -> None:
    dataset, file = damaged(tmp_path, damage)
    with pytest.raises(UserError) as raised:
        dataset.records("train")
    assert str(raised.value).startswith(f"clips: its file {file} {message}")
    assert "\n" not in str(raised.value)


def test_a_file_with_another_number_of_records_is_named(tmp_path: pathlib.Path) -> None:
    fewer = write_clips(tmp_path / "fewer", [labelled_record("x")])
    (file,) = fewer.glob("*train*array_record*")
    dataset, _ = damaged(tmp_path / "whole", lambda path: path.write_bytes(file.read_bytes()))
    with pytest.raises(UserError, match=r"holds 1 records, and dataset_info.json says 8"):
        dataset.records("train")


def test_a_flipped_byte_is_one_bad_record(tmp_path: pathlib.Path) -> None:
    def flip(file: pathlib.Path) -> None:
        content = bytearray(file.read_bytes())
        content[len(content) // 20] ^= 0xFF
        file.write_bytes(content)

    dataset, file = damaged(tmp_path, flip)
    records = dataset.records("train")
    unreadable = []
    for i in range(len(records)):
        try:
            assert records[i]["duration_s"] > 0
        except UserError as error:
            unreadable.append(str(error))
    (message,) = unreadable
    assert str(file) in message and "is damaged" in message
    with batches(str(tmp_path)) as iterator:
        reported = [bad for _, bads in with_reports(iterator, 4) for bad in bads]
    assert len({bad.id for bad in reported}) == 1 and reported[0].id.startswith("clips:#")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_damaged_descriptions_of_a_dataset_are_named(
    tmp_path: pathlib.Path, name: str, content: bytes
) -> None:
    folder = write_clips(tmp_path, [labelled_record("x")])
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=r"dataset_info\.json or features\.json cannot be read"):
        Dataset(folder)
