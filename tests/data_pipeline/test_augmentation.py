"""Augmented clips: level, a shared room, speech of another clip; deterministic, and encoded anew."""

import contextlib
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import pytest

from dualdub_jax.config import AugmentationConfig, Config, GridConfig, SourceConfig, StageConfig
from dualdub_jax.data_pipeline import loader
from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.augmentation import Augment
from dualdub_jax.data_pipeline.batch_iterator import BatchIterator
from dualdub_jax.data_pipeline.mixture import Source
from dualdub_jax.errors import UserError
from tests.data_pipeline.test_loader import STREAMS_OF_LEVELS, assert_same, make_codecs, take
from tests.tiny_dataset import flac_bytes, make_labels, make_record, sine_flac

GRID = GridConfig(num_frames=20, frame_size=16, num_script_tokens=20, num_voice_frames=8)
STAGE = StageConfig(
    name="augmented",
    mixture=(
        SourceConfig("tiny_films/text_speech", 1.0),
        SourceConfig("tiny_films/video_audio", 1.0),
        SourceConfig("tiny_films/soundtrack", 1.0),
    ),
    batch_size=6,
    augmentation=AugmentationConfig(
        level_rate=0.5, room_rate=0.5, speech_rate=0.5, speech_from="tiny_films/text_speech"
    ),
)


def batches(data_dir: str, stage: StageConfig = STAGE, **options: Any) -> "contextlib.closing[BatchIterator]":
    options = {"seed": 3, "codecs": make_codecs(), **options}
    config = Config(data_dir=data_dir, grid=GRID, streams=STREAMS_OF_LEVELS)
    return contextlib.closing(loader.make_batches(config, stage, **options))


def _augmented(record: dict[str, Any], seed: int = 0, speech: list[Any] | None = None, **rates: Any) -> Any:
    settings = AugmentationConfig(**{"speech_from": "speech", **rates})
    source = Source("speech", 1.0, speech or [], pathlib.Path())
    return Augment(None, settings, "films", source).record(record, np.random.default_rng(seed))


def _samples(record: dict[str, Any], stream: str) -> np.ndarray:
    return record_lib.decode_stem(record[stream], "x", record["duration_s"], 16_000)


def test_another_level_moves_the_background_alone_and_its_noise() -> None:
    record = make_record("x", events=make_labels("say x"), background=sine_flac(6400, 300.0, level=0.2))
    made = _augmented(record, level_rate=1.0, level_db=6.0)
    np.testing.assert_allclose(_samples(made, "speech"), _samples(record, "speech"), atol=1e-4)
    gain = np.abs(_samples(made, "background")).max() / np.abs(_samples(record, "background")).max()
    assert 0.5 < gain < 2 and abs(gain - 1) > 0.02
    (rt60_s, before), (same_s, after) = (record_lib.read_acoustics(each, "x") for each in (record, made))
    assert same_s == rt60_s and after - before == pytest.approx(20 * np.log10(gain), abs=0.02)


def test_a_stem_that_would_clip_keeps_the_relation_of_both() -> None:
    record = make_record("x", background=sine_flac(6400, 300.0, level=0.9), events="{}")
    for seed in range(8):
        made = _augmented(record, seed, level_rate=1.0, level_db=12.0)
        background, speech = (np.abs(_samples(made, stream)).max() for stream in ("background", "speech"))
        assert background <= 1.0 and (background > 0.99) == (speech < 0.49)


def test_both_stems_get_the_same_room_at_any_rate() -> None:
    """The response of each stem to a click is the click and a decaying tail; what is before it stays."""
    click = np.zeros(16_000)
    click[4000] = 0.5
    at_48 = np.zeros(48_000)
    at_48[12_000] = 0.5
    sounds = {"speech": flac_bytes(click), "background": record_lib.encode_flac(at_48, 48_000)}
    record = make_record("x", 25, events=make_labels("say x"), **sounds)
    made = _augmented(record, room_rate=1.0, rt60_s=(0.4, 0.4))
    tails = {}
    for stream in ("speech", "background"):
        found = _samples(made, stream)
        assert not np.abs(found[:3900]).max() > 0.01
        assert found[4000] == pytest.approx(_samples(record, stream)[4000], rel=0.05)
        tails[stream] = found[4100:]
    early, late = (np.sqrt((tails["speech"][a : a + 1600] ** 2).mean()) for a in (0, 4800))
    assert 20 * np.log10(early / late) == pytest.approx(60 * 0.3 / 0.4, abs=8)
    wanted, other = tails["speech"][:1600], tails["background"][:1600]
    assert np.corrcoef(wanted, other)[0, 1] > 0.8
    assert np.isnan(record_lib.read_acoustics(made, "x")).all()


def test_speech_of_another_clip_comes_with_its_words() -> None:
    film = make_record("film", 20, speech=b"", voice=b"", script="", has_script=False)
    spoken = make_record("told", 10, events=make_labels("say told"), video=b"", background=b"")
    long = make_record("long", 30, video=b"", background=b"")
    starts = set()
    for seed in range(6):
        made = _augmented(film, seed, [long, spoken], speech_rate=1.0)
        assert record_lib.script(made) == "say told" and made["voice"] == spoken["voice"]
        assert made["id"] == "film+speech:told"
        assert made["video"] == film["video"] and made["background"] == film["background"]
        first = int(np.flatnonzero(np.abs(_samples(made, "speech")) > 0.01)[0])
        starts.add(first)
        assert len(_samples(made, "speech")) == 20 * 640
        (word, begins_s, _), *_ = record_lib.timings(made, "x", "words")
        assert word == "say" and begins_s - 0.04 == pytest.approx(first / 16_000, abs=1e-3)
    assert len(starts) > 3 and all(start <= 10 * 640 + 10 for start in starts)
    assert _augmented(film, 0, [long], speech_rate=1.0) is film  # none fits
    whole = make_record("whole")
    assert _augmented(whole, 0, [spoken], speech_rate=1.0) is whole  # has speech of its own


def test_batches_are_deterministic_and_encode_anew(tiny_data_dir: str) -> None:
    cache: dict[Any, Any] = {}
    with batches(tiny_data_dir, token_cache=cache) as iterator:
        take(iterator, 3)
        state = json.loads(json.dumps(iterator.get_state()))
        expected = take(iterator, 3)
    with batches(tiny_data_dir, num_workers=1) as iterator:
        iterator.set_state(state)
        for left, right in zip(take(iterator, 3), expected, strict=True):
            assert_same(left, right)
    plain: dict[Any, Any] = {}
    with batches(
        tiny_data_dir, dataclasses.replace(STAGE, augmentation=AugmentationConfig()), token_cache=plain
    ) as iterator:
        take(iterator, 6)
        with pytest.raises(UserError, match="augmentation="):
            iterator.set_state(state)
    assert not [key for key in cache if "+" in key[1]]
    for key in set(cache) & set(plain):
        np.testing.assert_array_equal(cache[key], plain[key])  # of clips as they are
    paired = [name for batch in expected for name in batch["example_ids"] if "+" in name]
    assert paired and all(name.startswith("tiny_films/video_audio:") for name in paired)
    has_both = [
        batch["has_speech"][row] and batch["has_background"][row] and batch["has_video"][row]
        for batch in expected
        for row, name in enumerate(batch["example_ids"])
        if "+" in name
    ]
    assert all(has_both)


def test_prepared_tokens_are_not_those_of_an_augmented_clip() -> None:
    record = make_record("x") | {"speech_tokens": np.zeros((10, 3)), "background_tokens": np.zeros((10, 2))}
    assert "speech_tokens" not in _augmented(record, room_rate=1.0)
    assert _augmented(record) is record


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level_rate": 1.5}, r"level_rate: is 1\.5, expected a share"),
        ({"room_rate": 1.0, "rt60_s": (0.8, 0.1)}, r"rt60_s: is \[0\.8, 0\.1\]"),
        ({"level_rate": 1.0, "level_db": -1.0}, r"level_db: is -1\.0"),
        ({"speech_rate": 0.5, "speech_from": "libritts"}, "'libritts' is no dataset of the stage's mixture"),
        ({"speech_rate": 0.5}, "'' is no dataset of the stage's mixture"),
    ],
)
def test_wrong_settings_are_named(tiny_data_dir: str, settings: dict[str, Any], message: str) -> None:
    stage = dataclasses.replace(STAGE, augmentation=AugmentationConfig(**settings))
    with pytest.raises(UserError, match=message):
        batches(tiny_data_dir, stage)
