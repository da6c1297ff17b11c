"""Batches of several lengths: who is in which, one shape a bucket, positions, processes, bad records."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dualdub_jax.config import Config, GridConfig, SourceConfig, StageConfig
from dualdub_jax.data_pipeline import loader
from dualdub_jax.data_pipeline import mixture as curriculum
from dualdub_jax.data_pipeline.batch_iterator import BatchIterator
from dualdub_jax.data_pipeline.clip_lengths import clip_lengths
from dualdub_jax.data_pipeline.length_buckets import BucketPlan
from dualdub_jax.errors import UserError
from tests.data_pipeline.test_loader import STREAMS_OF_LEVELS, assert_same, make_codecs, take
from tests.labelled_clips import write_clips
from tests.tiny_dataset import NUM_TRAIN_CLIPS, make_record

# Clips have 10 to 16 frames.
GRID = GridConfig(num_frames=30, frame_size=16, num_script_tokens=20, num_voice_frames=8)
STAGE = StageConfig(
    name="bucketed",
    mixture=(SourceConfig("tiny_films/soundtrack", 2.0), SourceConfig("tiny_films/video_audio", 1.0)),
    batch_size=2,
    buckets=(12, 15),
)
ROWS = {12: 4, 15: 4, 30: 2}


@contextlib.contextmanager
def batches(data_dir: Any, stage: StageConfig = STAGE, **options: Any) -> Iterator[BatchIterator]:
    options = {"seed": 3, "codecs": make_codecs(), **options}
    config = Config(data_dir=str(data_dir), grid=GRID, streams=STREAMS_OF_LEVELS)
    with contextlib.closing(loader.make_batches(config, stage, **options)) as iterator:
        yield iterator


def _num_frames(example_id: str) -> int:
    return 10 + int(example_id.rpartition("_")[2])


def test_clips_are_in_the_shortest_batch_that_holds_them(tiny_data_dir: str) -> None:
    seen = set()
    codecs = make_codecs()
    with batches(tiny_data_dir, codecs=codecs) as iterator:
        for batch in take(iterator, 12):
            rows, length = batch["frame_mask"].shape
            seen.add(length)
            assert rows == ROWS[length] == len(batch["example_ids"])
            for row, name in enumerate(batch["example_ids"]):
                frames = _num_frames(name)
                assert length == next(limit for limit in ROWS if frames <= limit)
                assert batch["frame_mask"][row].sum() == frames
            assert batch["video"].shape[:2] == batch["speech_tokens"].shape[:2] == (rows, length)
            assert batch["script_alignment"].shape == (rows, length)
    assert seen == set(ROWS)
    assert len(codecs["speech"].shapes) == 1  # compiles once, whatever the bucket


def test_examples_are_those_of_one_length(tiny_data_dir: str) -> None:
    """Each clip's content is that of the same clip in a batch of the window's length."""
    whole = dataclasses.replace(STAGE, buckets=(), batch_size=3 * NUM_TRAIN_CLIPS)
    with batches(tiny_data_dir, whole) as iterator:
        batch = next(iterator)
        expected = {name: row for row, name in enumerate(batch["example_ids"])}
    with batches(tiny_data_dir) as iterator:
        for short in take(iterator, 3):
            length = short["frame_mask"].shape[1]
            for row, name in enumerate(short["example_ids"]):
                for field in (
                    "video",
                    "speech_tokens",
                    "background_tokens",
                    "script_alignment",
                    "frame_mask",
                ):
                    np.testing.assert_array_equal(short[field][row], batch[field][expected[name]][:length])
                np.testing.assert_array_equal(
                    short["script_tokens"][row], batch["script_tokens"][expected[name]]
                )


def test_an_epoch_has_every_clip_once_but_for_those_that_wait(tiny_data_dir: str) -> None:
    alone = dataclasses.replace(STAGE, mixture=STAGE.mixture[:1])
    with batches(tiny_data_dir, alone) as iterator:
        names = [name for batch in take(iterator, 30) for name in batch["example_ids"]]
    counts = [names.count(name) for name in set(names)]
    assert len(counts) == NUM_TRAIN_CLIPS and max(counts) - min(counts) <= 4


def test_positions_are_exact_also_in_workers(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        take(iterator, 5)
        state = json.loads(json.dumps(iterator.get_state()))
        expected = take(iterator, 5)
    assert any(state["waiting"]["examples"])
    number_alone = {key: value for key, value in state.items() if key != "waiting"}
    for position, num_workers in ((state, 2), (number_alone, 0)):
        with batches(tiny_data_dir, num_workers=num_workers) as resumed:
            resumed.set_state(position)
            for left, right in zip(take(resumed, 5), expected, strict=True):
                assert_same(left, right)


def test_processes_take_the_same_bucket_and_share_its_rows(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        whole = take(iterator, 6)
    shares = []
    for index in range(2):
        with batches(tiny_data_dir, process_index=index, process_count=2) as iterator:
            shares.append(take(iterator, 6))
            states = iterator.get_state()
    for expected, left, right in zip(whole, *shares, strict=True):
        assert left["example_ids"] + right["example_ids"] == expected["example_ids"]
        np.testing.assert_array_equal(np.concatenate([left["video"], right["video"]]), expected["video"])
    with batches(tiny_data_dir) as iterator:
        iterator.set_state(states)
        assert iterator.get_state() == states


def test_a_position_with_other_buckets_is_refused(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        state = iterator.get_state()
    other = dataclasses.replace(STAGE, buckets=(12,))
    with batches(tiny_data_dir, other) as iterator, pytest.raises(UserError, match="buckets="):
        iterator.set_state(state)


@pytest.mark.parametrize("buckets", [(0, 12), (12, 12), (15, 12), (30,), (31,)])
def test_lengths_that_do_not_ascend_below_the_window_are_named(tiny_data_dir: str, buckets: tuple) -> None:
    wrong = dataclasses.replace(STAGE, buckets=buckets)
    with (
        pytest.raises(UserError, match=r"ascend and are below grid.num_frames=30"),
        batches(tiny_data_dir, wrong),
    ):
        pass


def test_held_out_batches_have_one_shape(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        for each in iterator.held_out(4).sets:
            for batch in each.batches:
                assert batch["frame_mask"].shape == (2, 30)
            each.batches.close()


def test_a_bad_record_is_replaced_by_one_that_fits(tmp_path: pathlib.Path) -> None:
    short = [make_record(f"short_{i}", 10) for i in range(4)]
    short[1]["speech"] = b"no sound"
    write_clips(tmp_path, short + [make_record(f"long_{i}", 25) for i in range(4)])
    stage = dataclasses.replace(STAGE, mixture=(SourceConfig("clips"),))
    with batches(tmp_path, stage) as iterator:
        bad = []
        for _ in range(8):
            batch = next(iterator)
            bad += [record.id for record in iterator.bad_records]
            kinds = {name.partition(":")[2].partition("_")[0] for name in batch["example_ids"]}
            assert kinds == ({"short"} if batch["frame_mask"].shape[1] == 12 else {"long"})
    assert set(bad) == {"clips:short_1"}


def test_a_record_that_cannot_be_read_is_alone_in_its_bucket(tmp_path: pathlib.Path) -> None:
    """Its length is unknown, so it is among those of the window's length, where no other clip is."""
    records = [make_record(f"short_{i}", 10) for i in range(4)]
    folder = write_clips(tmp_path, [*records, make_record("broken", 10, duration_s=float("nan"))])
    assert folder.is_dir()
    stage = dataclasses.replace(STAGE, mixture=(SourceConfig("clips"),), buckets=(12,))
    bad, lengths = set(), set()
    with batches(tmp_path, stage) as iterator:
        for _ in range(8):
            batch = next(iterator)
            lengths.add(batch["frame_mask"].shape[1])
            bad |= {record.id for record in iterator.bad_records}
            assert all(name.startswith("clips:short_") for name in batch["example_ids"])
    assert lengths == {12, 30} and bad == {"clips:broken"}


def test_lengths_are_read_once_for_the_same_files(tiny_data_dir: str) -> None:
    (source,) = curriculum.open_mixture(tiny_data_dir, STAGE.mixture[:1], "train", "test")

    class Unread:
        def __len__(self) -> int:
            return len(source.records)

        def __getitem__(self, index: int) -> Any:
            raise AssertionError("is read again")

    lengths = clip_lengths(source)
    expected = [float(record["duration_s"]) for record in source.records]
    np.testing.assert_array_equal(lengths, expected)
    np.testing.assert_array_equal(clip_lengths(dataclasses.replace(source, records=Unread())), expected)
    with pytest.raises(AssertionError, match="read again"):
        clip_lengths(dataclasses.replace(source, records=Unread(), fingerprint="other"))


def test_a_plan_skips_no_example() -> None:
    plan = BucketPlan(lambda example: example % 3 == 0, [2, 3])
    found = [plan.next() for _ in range(20)]
    for bucket in (0, 1):
        numbers = [n for number, examples in found for n in examples if number == bucket]
        assert numbers == [n for n in range(200) if (n % 3 == 0) == bucket][: len(numbers)]
