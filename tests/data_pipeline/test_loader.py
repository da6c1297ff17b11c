"""Batches: the schema, exact positions, independence of workers and processes, stem tokens."""

import contextlib
import dataclasses
import json
import multiprocessing
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import grain
import numpy as np
import pytest

from dualdub_jax.codecs.base import CodecSpec
from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.config import Config, GridConfig, SourceConfig, StageConfig, StreamConfig, StreamsConfig
from dualdub_jax.data_pipeline import loader, record
from dualdub_jax.data_pipeline import mixture as curriculum
from dualdub_jax.data_pipeline.batch_iterator import BatchIterator
from dualdub_jax.errors import UserError
from dualdub_jax.models.batch import validate_batch
from tests.tiny_dataset import NUM_TEST_CLIPS, NUM_TRAIN_CLIPS

GRID = GridConfig(num_frames=20, frame_size=16, num_script_tokens=20, num_voice_frames=8)
STREAMS_OF_LEVELS = StreamsConfig(
    speech=StreamConfig(codec=MelRVQConfig(num_codebooks=3, codebook_size=1024)),
    background=StreamConfig(codec=MelRVQConfig(num_codebooks=2, codebook_size=1024)),
)
MIXED = StageConfig(
    name="mixed",
    mixture=(
        SourceConfig("tiny_films/text_speech", 1.0),
        SourceConfig("tiny_films/video_audio", 1.0),
        SourceConfig("tiny_films/soundtrack", 2.0),
    ),
    batch_size=4,
)
ALONE = StageConfig(name="alone", mixture=(SourceConfig("tiny_films/soundtrack"),), batch_size=4)


class LevelCodec:
    """A codec of a few lines: each token is the level of its frame and of the next one."""

    latency_frames = 1

    def __init__(self, num_codebooks: int) -> None:
        self.spec = CodecSpec(16_000, Fraction(25), num_codebooks, 1024)
        self.shapes: set[tuple[int, ...]] = set()
        self.num_clips = 0

    def encode(self, waveform: np.ndarray, frame_mask: np.ndarray | None = None) -> np.ndarray:
        self.shapes.add(waveform.shape)
        self.num_clips += len(waveform) if frame_mask is None else int(frame_mask.any(axis=1).sum())
        level = np.abs(waveform).reshape(len(waveform), -1, 640).max(-1)
        if frame_mask is not None:
            # Past the end of the clip is not silence but the codec's own padding, here something loud.
            level = np.where(frame_mask, level, 4.0)
        level = np.concatenate([level, np.full((len(level), 1), 4.0)], axis=1)
        tokens = (100 * (level[:, :-1] + level[:, 1:])).astype(np.int32)
        return np.stack([tokens + q for q in range(self.spec.num_codebooks)], axis=-1)


def make_codecs() -> dict[str, LevelCodec]:
    return {"speech": LevelCodec(3), "background": LevelCodec(2)}


@contextlib.contextmanager
def batches(data_dir: str, stage: StageConfig = MIXED, **options: Any) -> Iterator[BatchIterator]:
    options = {"seed": 3, "codecs": make_codecs(), **options}
    config = Config(data_dir=data_dir, grid=GRID, streams=STREAMS_OF_LEVELS)
    with contextlib.closing(loader.make_batches(config, stage, **options)) as iterator:
        yield iterator


def take(iterator: BatchIterator, count: int) -> list[dict[str, Any]]:
    return [next(iterator) for _ in range(count)]


def assert_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left["example_ids"] == right["example_ids"]
    assert left.keys() == right.keys()
    for name in left.keys() - {"example_ids"}:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_batches_follow_the_schema(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        batch = next(iterator)
    ids = batch.pop("example_ids")
    validate_batch(batch, Config(data_dir=tiny_data_dir, grid=GRID, streams=STREAMS_OF_LEVELS))
    assert len(ids) == len(batch["video"]) == MIXED.batch_size
    assert all(name.partition(":")[0].startswith("tiny_films/") for name in ids)


def test_absent_parts_are_flagged_and_zero(tiny_data_dir: str) -> None:
    flags = ("video", "script", "voice", "speech", "background")
    expected = {
        "tiny_films/text_speech": (False, True, True, True, False),
        "tiny_films/video_audio": (True, False, False, False, True),
        "tiny_films/soundtrack": (True, True, True, True, True),
    }
    seen = set()
    with batches(tiny_data_dir) as iterator:
        for batch in take(iterator, 3):
            for row, name in enumerate(batch["example_ids"]):
                source = name.partition(":")[0]
                seen.add(source)
                assert tuple(bool(batch[f"has_{flag}"][row]) for flag in flags) == expected[source]
                assert batch["video"][row].any() == batch["has_video"][row]
                assert batch["script_mask"][row].any() == batch["has_script"][row]
                assert batch["voice"][row].any() == batch["has_voice"][row]
                assert batch["speech_tokens"][row].any() == batch["has_speech"][row]
                assert batch["background_tokens"][row].any() == batch["has_background"][row]
    assert seen == set(expected)


def test_mixture_has_the_weights_of_the_config(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        names = [name.partition(":")[0] for batch in take(iterator, 10) for name in batch["example_ids"]]
    assert names.count("tiny_films/soundtrack") == 20
    assert names.count("tiny_films/text_speech") == names.count("tiny_films/video_audio") == 10


def test_an_epoch_has_every_clip_once_and_the_next_another_order(tiny_data_dir: str) -> None:
    stage = dataclasses.replace(ALONE, batch_size=NUM_TRAIN_CLIPS)
    with batches(tiny_data_dir, stage) as iterator:
        first, second = (batch["example_ids"] for batch in take(iterator, 2))
    assert len(set(first)) == len(set(second)) == NUM_TRAIN_CLIPS
    assert set(first) == set(second)
    assert first != second


def test_seed_and_stage_change_the_order(tiny_data_dir: str) -> None:
    def order(stage: StageConfig, seed: int) -> list[str]:
        with batches(tiny_data_dir, stage, seed=seed) as iterator:
            return next(iterator)["example_ids"]

    whole = dataclasses.replace(ALONE, batch_size=NUM_TRAIN_CLIPS)
    other = dataclasses.replace(whole, name="other")
    assert order(whole, 3) == order(whole, 3)
    assert order(whole, 3) != order(whole, 4)
    assert order(whole, 3) != order(other, 3)


def test_one_pass_has_every_clip_once_and_is_filled_with_empty_examples(tiny_data_dir: str) -> None:
    codecs = make_codecs()
    with batches(tiny_data_dir, ALONE, split="test", repeat=False, shuffle=False, codecs=codecs) as iterator:
        (batch,) = list(iterator)
    named = [name for name in batch["example_ids"] if name]
    assert sorted(named) == [f"tiny_films/soundtrack:test_{i}" for i in range(NUM_TEST_CLIPS)]
    assert batch["example_ids"].count("") == ALONE.batch_size - NUM_TEST_CLIPS
    empty = batch["example_ids"].index("")
    assert (batch["script_alignment"][empty] == -1).all()
    zero = set(batch) - {"example_ids", "script_alignment"}
    assert not any(batch[name][empty].any() for name in zero)


def test_a_position_goes_on_exactly(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        take(iterator, 3)
        state = json.loads(json.dumps(iterator.get_state()))
        expected = take(iterator, 3)
    with batches(tiny_data_dir) as resumed:
        resumed.set_state(state)
        for left, right in zip(take(resumed, 3), expected, strict=True):
            assert_same(left, right)


def test_a_position_can_be_set_on_an_iterator_that_has_begun(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        start = iterator.get_state()
        expected = take(iterator, 2)
        iterator.set_state(start)
        for left, right in zip(take(iterator, 2), expected, strict=True):
            assert_same(left, right)


def test_prefetched_batches_are_no_part_of_the_position(tiny_data_dir: str) -> None:
    codecs = make_codecs()
    with batches(tiny_data_dir, ALONE, codecs=codecs) as iterator:
        next(iterator)
        limit = time.monotonic() + 20
        # Wait until the pipeline has really run ahead: more than the one batch is tokenised.
        while codecs["speech"].num_clips <= ALONE.batch_size and time.monotonic() < limit:
            time.sleep(0.01)
        assert codecs["speech"].num_clips > ALONE.batch_size
        state = iterator.get_state()
        expected = next(iterator)
    assert state["next_batch"] == 1
    with batches(tiny_data_dir, ALONE) as resumed:
        resumed.set_state(state)
        assert_same(next(resumed), expected)


def test_workers_give_the_same_batches_and_positions(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        expected = take(iterator, 5)
    with batches(tiny_data_dir, num_workers=2) as iterator:
        first = take(iterator, 3)
        state = json.loads(json.dumps(iterator.get_state()))
    with batches(tiny_data_dir, num_workers=1) as iterator:
        iterator.set_state(state)
        rest = take(iterator, 2)
    for left, right in zip(first + rest, expected, strict=True):
        assert_same(left, right)


def test_a_killed_worker_is_started_again_at_the_same_batch(
    tiny_data_dir: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with batches(tiny_data_dir) as iterator:
        expected = take(iterator, 8)
    with batches(tiny_data_dir, num_workers=1) as iterator:
        found = take(iterator, 2)
        for worker in multiprocessing.active_children():
            worker.kill()
        found += take(iterator, 6)
    for left, right in zip(found, expected, strict=True):
        assert_same(left, right)
    assert "started again" in capfd.readouterr().err


def test_a_batch_that_kills_every_worker_ends_the_run(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        iterator._num_workers = 1  # of workers that die at once
        dead = RuntimeError("Worker process was terminated unexpectedly with exit code -9. Search the logs")
        iterator._open = lambda: (_ for _ in [0] if raises(dead))
        with pytest.raises(UserError, match=r"killed 4 times in a row .* batch 0 .*exit code -9"):
            next(iterator)


def raises(error: Exception) -> bool:
    raise error


def test_processes_share_the_global_batch(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        whole = take(iterator, 3)
    shares = []
    for index in range(2):
        with batches(tiny_data_dir, process_index=index, process_count=2) as iterator:
            shares.append(take(iterator, 3))
    for expected, left, right in zip(whole, *shares, strict=True):
        joined = {
            name: left[name] + right[name]
            if name == "example_ids"
            else np.concatenate([left[name], right[name]])
            for name in expected
        }
        assert_same(joined, expected)


def test_a_position_is_good_on_another_number_of_processes(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        take(iterator, 2)
        state = iterator.get_state()
        expected = next(iterator)
    with batches(tiny_data_dir, process_index=1, process_count=2) as iterator:
        iterator.set_state(state)
        assert next(iterator)["example_ids"] == expected["example_ids"][2:]


def test_grain_checkpoints_save_the_position(tiny_data_dir: str, tmp_path: Any) -> None:
    handler = grain.checkpoint.CheckpointHandler()
    with batches(tiny_data_dir) as iterator:
        take(iterator, 2)
        handler.save(tmp_path, iterator)
        expected = next(iterator)
    with batches(tiny_data_dir) as resumed:
        handler.restore(tmp_path, resumed)
        assert_same(next(resumed), expected)


def test_a_position_of_another_stream_is_refused(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        state = iterator.get_state()
    with batches(tiny_data_dir, seed=4) as iterator, pytest.raises(UserError, match=r"seed=3.*seed=4"):
        iterator.set_state(state)


def test_cached_tokens_equal_fresh_ones_and_each_clip_is_encoded_once(tiny_data_dir: str) -> None:
    codecs = make_codecs()
    cache: dict[Any, np.ndarray] = {}
    with batches(tiny_data_dir, ALONE, codecs=codecs, token_cache=cache) as iterator:
        fresh = take(iterator, 6)
    assert codecs["speech"].num_clips == codecs["background"].num_clips == NUM_TRAIN_CLIPS
    assert len(codecs["speech"].shapes) == 1  # compiles once
    with batches(tiny_data_dir, ALONE, codecs=codecs, token_cache=cache) as iterator:
        cached = take(iterator, 6)
    assert codecs["speech"].num_clips == NUM_TRAIN_CLIPS
    for left, right in zip(fresh, cached, strict=True):
        assert_same(left, right)


def test_tokens_of_a_short_clip_are_those_of_the_clip_alone(tiny_data_dir: str) -> None:
    stage = dataclasses.replace(ALONE, batch_size=NUM_TEST_CLIPS)
    with batches(tiny_data_dir, stage, split="test", shuffle=False) as iterator:
        batch = next(iterator)
    records = curriculum.open_dataset(tiny_data_dir, "tiny_films/soundtrack", "test")
    for row in range(NUM_TEST_CLIPS):
        num_frames = round(records[row]["duration_s"] * 25)
        assert num_frames < GRID.num_frames
        clip = records[row]
        stem = record.decode_stem(clip["speech"], "x", clip["duration_s"], 16_000)
        tokens = batch["speech_tokens"][row]
        np.testing.assert_array_equal(tokens[:num_frames], LevelCodec(3).encode(stem[None])[0])
        assert not tokens[num_frames:].any()


def test_batch_size_must_be_shared_evenly(tiny_data_dir: str) -> None:
    with pytest.raises(UserError, match="batch_size 4 is not a positive multiple of the 3 processes"):
        loader.make_batches(Config(data_dir=tiny_data_dir), MIXED, make_codecs(), seed=0, process_count=3)


def test_a_closed_iterator_says_so(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir) as iterator:
        next(iterator)
    with pytest.raises(ValueError, match="closed"):
        next(iterator)


def crops(data_dir: str, stream: str, source: str) -> contextlib.closing:
    config = Config(data_dir=data_dir, grid=GRID)
    mixture = (SourceConfig(source),)
    return contextlib.closing(
        loader.make_codec_batches(config, stream, mixture=mixture, seed=0, batch_size=8, crop_frames=5)
    )


def test_codec_batches_are_crops_of_the_stem(tiny_data_dir: str) -> None:
    with crops(tiny_data_dir, "speech", "tiny_films/text_speech") as iterator:
        first, second = take(iterator, 2)
        state = iterator.get_state()
        third = next(iterator)
    assert first["waveform"].shape == (8, 5 * 640)
    assert first["waveform"].dtype == np.float32
    assert len(first["example_ids"]) == 8
    assert not np.array_equal(first["waveform"], second["waveform"])
    with crops(tiny_data_dir, "speech", "tiny_films/text_speech") as iterator:
        iterator.set_state(state)
        assert_same(next(iterator), third)


def test_codec_batches_need_the_stem(tiny_data_dir: str) -> None:
    message = r"has no background stem.*streams.background.codec.training.mixture"
    with (
        crops(tiny_data_dir, "background", "tiny_films/text_speech") as iterator,
        pytest.raises(UserError, match=message),
    ):
        next(iterator)


def test_a_stage_hides_what_it_drops(tiny_data_dir: str) -> None:
    with batches(tiny_data_dir, ALONE) as iterator:
        whole = next(iterator)
    dropping = dataclasses.replace(ALONE, drop=("video", "speech"))
    with batches(tiny_data_dir, dropping) as iterator:
        blind, state = next(iterator), iterator.get_state()
    assert whole["has_video"].all() and whole["has_speech"].all()
    assert not blind["has_video"].any() and not blind["has_speech"].any()
    np.testing.assert_array_equal(blind["has_background"], whole["has_background"])
    with batches(tiny_data_dir, ALONE) as iterator, pytest.raises(UserError, match="has drop=None"):
        iterator.set_state(state)


def test_a_dataset_hides_what_its_entry_drops(tiny_data_dir: str) -> None:
    two = dataclasses.replace(
        ALONE,
        mixture=(
            dataclasses.replace(ALONE.mixture[0], drop=("speech", "video")),
            SourceConfig("tiny_films/text_speech"),
        ),
    )
    with batches(tiny_data_dir, two) as iterator:
        batch, state = next(iterator), json.loads(json.dumps(iterator.get_state()))
    is_first = np.array([name.startswith(ALONE.mixture[0].name) for name in batch["example_ids"]])
    assert is_first.any() and not is_first.all()
    np.testing.assert_array_equal(batch["has_speech"], ~is_first)
    with batches(tiny_data_dir, two) as iterator:
        iterator.set_state(state)  # also as JSON gives it back
    undropped = dataclasses.replace(two, mixture=(ALONE.mixture[0], two.mixture[1]))
    with batches(tiny_data_dir, undropped) as iterator, pytest.raises(UserError, match="has drop=None"):
        iterator.set_state(state)


def test_a_misspelt_drop_is_named(tiny_data_dir: str) -> None:
    with (
        pytest.raises(UserError, match="'vidoe' is none of video, script"),
        batches(tiny_data_dir, dataclasses.replace(ALONE, drop=("vidoe",))),
    ):
        pass
