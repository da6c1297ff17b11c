"""Sidecars: interrupted and resumed, keyed by the encoder, found without reading all."""

import concurrent.futures
import io
import json
import multiprocessing
import pathlib
import re
import shutil

import numpy as np
import pytest
import rich.console

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.prepare import prepare
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.data_pipeline.sidecars import SidecarStore, SidecarWriter
from dualdub_jax.errors import UserError
from tests.labelled_clips import labelled_record, write_clips
from tests.tiny_dataset import NUM_TEST_CLIPS, NUM_TRAIN_CLIPS


@pytest.fixture
def dataset(tiny_data_dir: str, tmp_path: pathlib.Path) -> pathlib.Path:
    source = pathlib.Path(tiny_data_dir) / "tiny_films" / "soundtrack" / "1.0.0"
    return shutil.copytree(source, tmp_path / "films")


def _encode(records: list[Record]) -> list[np.ndarray]:
    """Level of each 10 ms of the speech, and how long the id is."""
    stems = [record.decode_stem(r["speech"], "x", r["duration_s"], 16_000) for r in records]
    levels = [np.abs(stem.reshape(-1, 160)).mean(1).astype(np.float16) for stem in stems]
    return [np.append(level, np.float16(len(r["id"]))) for level, r in zip(levels, records, strict=True)]


def _prepare(dataset: pathlib.Path, fingerprint: str = "v1", encode=_encode, **options) -> SidecarStore:
    options = {
        "batch_size": 2,
        "shard_size": 3,
        "console": rich.console.Console(file=io.StringIO()),
        **options,
    }
    return prepare(dataset, "levels", fingerprint, encode, **options)


def _files(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_clip_of_every_split_is_found(dataset: pathlib.Path) -> None:
    store = _prepare(dataset)
    assert len(store) == NUM_TRAIN_CLIPS + NUM_TEST_CLIPS
    for clip in ("train_0", "train_6", "test_2"):
        length = 4 * (10 + int(clip[-1]))
        found = store.get(clip)
        assert found.dtype == np.float16 and found.shape == (length + 1,) and found[-1] == len(clip)
        assert clip in store
    again = SidecarStore.open(dataset, "levels", "v1")
    np.testing.assert_array_equal(again.get("test_0"), store.get("test_0"))


@pytest.mark.parametrize("num_batches", [0, 1, 3, 5])
def test_interrupted_and_resumed_it_has_the_same_bytes(dataset: pathlib.Path, num_batches: int) -> None:
    whole = _files(_prepare(dataset, "whole").folder)
    calls = []

    def interrupted(records: list[Record]) -> list[np.ndarray]:
        if len(calls) == num_batches:
            raise KeyboardInterrupt
        calls.append([r["id"] for r in records])
        return _encode(records)

    with pytest.raises(KeyboardInterrupt):
        _prepare(dataset, "cut", interrupted)
    with pytest.raises(UserError, match=r"is not complete; run: dualdub data prepare"):
        SidecarStore.open(dataset, "levels", "cut")
    resumed = []

    def counting(records: list[Record]) -> list[np.ndarray]:
        resumed.extend(records)
        return _encode(records)

    files = _files(_prepare(dataset, "cut", counting).folder)
    assert {name: data for name, data in files.items() if name != "sidecar.json"} == {
        name: data for name, data in whole.items() if name != "sidecar.json"
    }
    # A shard of three clips takes two batches; only whole shards were kept.
    assert len(resumed) == NUM_TRAIN_CLIPS + NUM_TEST_CLIPS - 3 * (num_batches // 2)


def test_what_is_there_is_not_made_again(dataset: pathlib.Path) -> None:
    _prepare(dataset)
    console = rich.console.Console(file=io.StringIO(), width=300)

    def never(records: list[Record]) -> list[np.ndarray]:
        raise AssertionError("encoded again")

    _prepare(dataset, encode=never, console=console)
    assert "levels: already prepared" in console.file.getvalue()


def test_another_fingerprint_is_another_sidecar(dataset: pathlib.Path) -> None:
    first = _prepare(dataset)
    with pytest.raises(UserError, match=r"made by another encoder \(fingerprint v1, not v2\); run: dualdub"):
        SidecarStore.open(dataset, "levels", "v2")
    second = _prepare(dataset, "v2", lambda records: [np.zeros(1) for _ in records])
    assert len(second.get("train_0")) == 1 and len(first.get("train_0")) > 1
    with pytest.raises(UserError, match="has no tokens sidecar"):
        SidecarStore.open(dataset, "tokens", "v1")


def test_a_missing_clip_is_named(dataset: pathlib.Path) -> None:
    def without_one(records: list[Record]) -> list[np.ndarray | None]:
        return [None if r["id"] == b"train_3" else np.ones(2) for r in records]

    store = _prepare(dataset, encode=without_one)
    assert "train_3" not in store and "train_4" in store and len(store) == 9
    for clip in ("train_3", "nobody"):
        with pytest.raises(UserError, match=f"{clip}: is not in .*levels/v1"):
            store.get(clip)


def test_ids_that_share_a_hash_are_distinguished(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualdub_jax.data_pipeline.sidecars._hash", lambda clip_id: np.uint64(7))
    writer = SidecarWriter(tmp_path / "s", "k", "f", 1, 10)
    writer.begin()
    writer.write_shard(0, [(name, np.array([len(name)])) for name in ("a", "bb", "ccc")])
    store = writer.finish()
    assert [int(store.get(name)[0]) for name in ("a", "bb", "ccc")] == [1, 2, 3]
    assert "dddd" not in store


def test_faults_of_an_encoder_are_errors(dataset: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="1 arrays of 2 records"):
        _prepare(dataset, encode=lambda records: [np.zeros(1)])
    writer = SidecarWriter(tmp_path / "s", "k", "f", 1, 10)
    writer.begin()
    writer.write_shard(0, [("a", np.zeros(1)), ("a", np.zeros(1))])
    with pytest.raises(UserError, match="two clips of the dataset have the id 'a'"):
        writer.finish()
    with pytest.raises(UserError, match=r"was begun with .*shard_size.: 10.*remove that folder"):
        SidecarWriter(tmp_path / "s", "k", "f", 1, 11).begin()
    with pytest.raises(ValueError, match=r"'\.\./x': expected letters"):
        _prepare(dataset, "../x")


def _first_value(store: SidecarStore, clip: str) -> float:
    return float(store.get(clip)[0])


def test_many_processes_read_one_sidecar(dataset: pathlib.Path) -> None:
    store = _prepare(dataset)
    clips = [f"train_{i}" for i in range(NUM_TRAIN_CLIPS)]
    expected = [_first_value(store, clip) for clip in clips]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        assert list(pool.map(_first_value, [store] * len(clips), clips)) == expected
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert list(threads.map(_first_value, [store] * len(clips), clips)) == expected


def test_bad_records_are_named_and_left_out_up_to_the_share(tmp_path):
    def encode(records):
        if any(record["video"] == b"garbage" for record in records):
            raise UserError("its video cannot be decoded; build the dataset again")
        return [np.zeros(1) for _ in records]

    good = [labelled_record(f"good_{i}") for i in range(5)]
    dataset = write_clips(tmp_path / "one", [*good, labelled_record("bad", video=b"garbage")])
    output = io.StringIO()
    store = _prepare(dataset, encode=encode, console=rich.console.Console(file=output))
    assert len(store) == 5 and "good_0" in store and "bad" not in store
    assert "clips: left out: its video cannot be decoded" in output.getvalue()
    (line,) = map(json.loads, (store.folder / "failures.jsonl").read_text().splitlines())
    assert line["id"] == "bad" and line["stage"] == store.header["kind"]
    assert line["reason"] == "its video cannot be decoded; build the dataset again"
    assert not list(store.folder.glob("failures-*"))
    bad = [labelled_record(f"bad_{i}", video=b"garbage") for i in range(2)]
    dataset = write_clips(tmp_path / "two", [*good, *bad])
    message = r"clips: 2 records cannot.*accepts 1; (\S+failures\.jsonl) lists them, the last: its video"
    with pytest.raises(UserError, match=message) as refused:
        _prepare(dataset, encode=encode)
    listed = pathlib.Path(re.search(message, str(refused.value)).group(1))
    assert len(listed.read_text().splitlines()) == 2
