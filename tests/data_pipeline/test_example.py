"""Records to examples: padding and masks, cropping, and records that break the schema."""

import dataclasses
import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dualdub_jax.codecs.base import CodecSpec
from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.config import Config, GridConfig, StreamConfig, StreamsConfig
from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.collate import collate
from dualdub_jax.data_pipeline.example import MakeExample, unfilled_example
from dualdub_jax.data_pipeline.stem_crops import CropStem
from dualdub_jax.errors import UserError
from dualdub_jax.text.phonemes import PhonemeTokenizer
from dualdub_jax.text.tokenizer import ByteTokenizer
from tests.films import frame_level
from tests.tiny_dataset import SAMPLES_PER_FRAME, film_bytes, flac_bytes, make_record, sine_flac

GRID = GridConfig(num_frames=16, frame_size=32, num_script_tokens=20, num_voice_frames=8)
CONFIG = Config(grid=GRID)
SPEC = CodecSpec(16_000, Fraction(25), 3, 16)


def example_of(record: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    return MakeExample("films/a", CONFIG, ByteTokenizer()).example(record, np.random.default_rng(seed))


def test_a_short_clip_is_padded_and_masked() -> None:
    example = example_of(make_record("x", num_frames=10))
    assert example["example_ids"] == "films/a:x"
    assert example["frame_mask"].tolist() == [True] * 10 + [False] * 6
    assert example["video"][:10].any(axis=(1, 2, 3)).all()
    assert not example["video"][10:].any()
    assert example["stems"]["speech"].decode(SPEC).shape == (10 * SAMPLES_PER_FRAME,)


def test_bytes_from_disk_and_text_make_the_same_example() -> None:
    record = make_record("x")
    stored = {**record, "id": b"x", "script": record["script"].encode()}
    assert example_of(stored)["example_ids"] == "films/a:x"
    np.testing.assert_array_equal(example_of(stored)["script_tokens"], example_of(record)["script_tokens"])


def test_script_tokens_have_markers_and_mask() -> None:
    example = example_of(make_record("x", script="hi é"))
    mask = example["script_mask"]
    assert mask.tolist() == [True] * 7 + [False] * 13
    assert ByteTokenizer().decode(example["script_tokens"][mask].tolist()) == "hi é"
    assert not example["script_tokens"][~mask].any()


def test_an_empty_script_is_known_and_an_unknown_one_is_absent() -> None:
    silent = example_of(make_record("x", script=""))
    assert silent["has_script"]
    assert silent["script_mask"].sum() == 2  # begin and end
    unknown = example_of(make_record("x", script="", has_script=False))
    assert not unknown["has_script"]
    assert not unknown["script_mask"].any()


def test_a_script_that_is_too_long_names_the_clip() -> None:
    with pytest.raises(UserError, match=r"films/a:x: its script has 21 tokens.*num_script_tokens=20"):
        example_of(make_record("x", script="a" * 19))


def _record_with_words(words: list, script: str = "set red", **fields) -> dict:
    return make_record("x", script=script, events=json.dumps({"speech": {"words": words}}), **fields)


def test_word_times_become_places_of_bytes() -> None:
    """Frames are 40 ms: "set" takes frames 2 to 4, a byte each, then a pause, then "red" with its space."""
    words = [["set", 0.08, 0.2], ["red", 0.26, 0.36]]
    example = example_of(_record_with_words(words, num_frames=14))
    expected = [0, 0, 1, 2, 3, 3, 4, 5, 7, 8, 8, 8, 8, 8]
    assert example["script_alignment"].tolist() == [*expected, -1, -1]


def test_word_times_become_places_of_phonemes() -> None:
    """Three phonemes each: s, ɛ, t in frames 2 to 4, a pause, then ɹ, ɛ, d."""
    words = [["set", 0.08, 0.2], ["red", 0.28, 0.4]]
    record = _record_with_words(words, num_frames=14)
    example = MakeExample("films/a", CONFIG, PhonemeTokenizer()).example(record, np.random.default_rng(0))
    assert example["script_alignment"][:14].tolist() == [0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 7, 7, 7]


@pytest.mark.parametrize("events", ["{}", "", '{"speech": null}', '{"speech": {"words": null}}'])
def test_without_word_times_no_place_is_known(events: str) -> None:
    assert (example_of(make_record("x", events=events))["script_alignment"] == -1).all()


def test_acoustics_come_from_the_events() -> None:
    example = example_of(make_record("x", events='{"room": {"rt60_s": 0.5, "noise_dbfs": -50}}'))
    assert example["has_acoustics"] and example["acoustics"].tolist() == [0.5, -50.0]
    without = example_of(make_record("x", events="{}"))
    assert not without["has_acoustics"] and not without["acoustics"].any()


@pytest.mark.parametrize("acoustics", ['{"rt60_s": 0.5}', '{"rt60_s": 0, "noise_dbfs": -50}', '"hall"'])
def test_bad_acoustics_name_the_clip(acoustics: str) -> None:
    with pytest.raises(UserError, match=r"films/a:x: acoustics of its events are .*a positive rt60_s"):
        example_of(make_record("x", events=f'{{"room": {acoustics}}}'))


def test_words_that_are_not_the_script_name_the_clip() -> None:
    with pytest.raises(UserError, match=r"films/a:x: speech\.words of its events are not its script"):
        example_of(_record_with_words([["set", 0.1, 0.2]]))


@pytest.mark.parametrize(("num_samples", "covered"), [(3 * 640, 3), (3 * 640 + 639, 3), (100 * 640, 8)])
def test_voice_is_cut_or_padded_to_whole_frames(num_samples: int, covered: int) -> None:
    example = example_of(make_record("x", voice=sine_flac(num_samples, 300.0)))
    assert example["voice_mask"].sum() == covered
    assert example["voice_mask"][:covered].all()
    frames = example["voice"].reshape(8, SAMPLES_PER_FRAME)
    np.testing.assert_array_equal(frames.any(axis=1), example["voice_mask"])


def test_a_long_clip_with_a_script_is_an_error() -> None:
    with pytest.raises(UserError, match=r"films/a:x: has a script and 20 frames.*window of 16"):
        example_of(make_record("x", num_frames=20))


@pytest.mark.parametrize("has_script", [True, False])
def test_video_and_stems_of_a_long_clip_are_cropped_alike(has_script: bool) -> None:
    # Each frame of the stem has its own level, as the film has its own brightness.
    levels = np.arange(1, 21) / 40
    stem = np.repeat(levels, SAMPLES_PER_FRAME)
    record = make_record("x", num_frames=20, script="", has_script=has_script, background=flac_bytes(stem))
    starts = set()
    for seed in range(60):
        example = example_of(record, seed)
        sound = example["stems"]["background"].decode(SPEC)
        start = round(float(sound[0]) * 40) - 1
        starts.add(start)
        assert example["frame_mask"].all()
        assert not example["stems"]["background"].is_constant
        assert sound.shape == (16 * SAMPLES_PER_FRAME,)
        brightness = example["video"].mean(axis=(1, 2, 3))
        np.testing.assert_allclose(brightness, [frame_level(start + t) for t in range(16)], atol=2)
    assert min(starts) == 0
    assert max(starts) == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"video": b"garbage"}, "films/a:x: its video cannot be decoded"),
        ({"video": film_bytes(2)}, r"films/a:x: its video ends at 0\.08 s"),
        ({"voice": b"garbage"}, "films/a:x: its voice cannot be decoded"),
        ({"voice": sine_flac(100, 300.0)}, "films/a:x: its voice is shorter than one frame"),
        ({"duration_s": 0.0}, "films/a:x: duration_s is 0.0"),
    ],
)
def test_a_broken_record_names_its_clip(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        example_of({**make_record("x"), **fields})


@pytest.mark.parametrize("stream", ["speech", "background"])
@pytest.mark.parametrize(
    ("stem", "message"),
    [
        (b"garbage", "cannot be decoded"),
        (sine_flac(6400, 300.0)[:-2000], "cannot be decoded|has .* samples, expected 6400"),
        (sine_flac(999, 300.0), "has 999 samples, expected 6400"),
    ],
)
def test_a_broken_stem_names_its_clip(stream: str, stem: bytes, message: str) -> None:
    with pytest.raises(UserError, match=f"films/a:x: its {stream} stem ({message})"):
        example_of(make_record("x", **{stream: stem}))


@pytest.mark.parametrize(
    "speech",
    [
        '"x"',
        '{"words": 3}',
        '{"words": [["set"]]}',
        '{"words": [["set", "a", 1]]}',
        '{"words": [["set", 0.2, 0.1]]}',
        '{"words": [[1, 0.1, 0.2]]}',
    ],
)
def test_malformed_word_times_name_the_clip(speech: str) -> None:
    with pytest.raises(UserError, match=r"films/a:x: speech\.words of its events are not \[\[text, start_s"):
        example_of(make_record("x", events=f'{{"speech": {speech}}}'))


def test_collate_stacks_examples_with_empty_ones() -> None:
    batch = collate([example_of(make_record("x")), unfilled_example(CONFIG)])
    assert batch["example_ids"] == ["films/a:x", ""]
    assert batch["has_video"].tolist() == [True, False]
    assert batch["has_video"].dtype == np.bool_
    assert batch["video"].shape == (2, 16, 32, 32, 3)
    assert [stem.clip for stem in batch["stems"]["speech"]] == ["films/a:x", ""]


def test_stems_are_decoded_at_the_rate_of_the_codec() -> None:
    """A stem at 44.1 kHz for a codec of 24 kHz and 40 Hz: each frame is 600 samples."""
    spec = CodecSpec(24_000, Fraction(40), 1, 16)
    streams = StreamConfig(codec=MelRVQConfig(sample_rate_hz=24_000, frame_rate_hz=40))
    grid = dataclasses.replace(GRID, frame_rate_hz=40)
    config = Config(grid=grid, streams=StreamsConfig(speech=streams, background=streams))
    sine = 0.5 * np.sin(2 * np.pi * 300 * np.arange(round(0.39 * 44_100)) / 44_100)
    record = make_record("x", speech=record_lib.encode_flac(sine, 44_100), duration_s=0.39, background=b"")
    example = MakeExample("films/a", config, ByteTokenizer()).example(record, np.random.default_rng(0))
    samples = example["stems"]["speech"].decode(spec)
    assert example["frame_mask"].sum() == 16 and samples.shape == (16 * 600,)
    expected = 0.5 * np.sin(2 * np.pi * 300 * np.arange(9000) / 24_000)
    np.testing.assert_allclose(samples[500:9000], expected[500:], atol=2e-3)
    assert not samples[9360:].any()  # zeros complete the last frame
    crop = CropStem("films/a", "speech", spec, 4, Fraction(1, 10))
    made = crop.crop(record, np.random.default_rng(0))
    assert made["waveform"].shape == (2400,) and made["voice"].shape == (2400,)
    assert made["voice_mask"].shape == (4,) and made["voice_mask"].all()


# ------------------------------------------------------------------------------------------- tasks and voices


def _made(
    record: dict[str, Any], *, seed: int = 0, drop: tuple[str, ...] = (), **model: Any
) -> dict[str, Any]:
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, **model))
    return MakeExample("films/a", config, ByteTokenizer(), drop).example(record, np.random.default_rng(seed))


@pytest.mark.parametrize("drop", [("video", "background"), ("speech", "script", "voice"), ("acoustics",)])
def test_dropped_parts_are_absent_and_their_stems_are_not_encoded(drop: tuple[str, ...]) -> None:
    record = make_record("x", events=json.dumps({"acoustics": {"rt60_s": 0.3, "noise_dbfs": -50.0}}))
    whole, example = _made(record), _made(record, drop=drop)
    for part in ("video", "script", "voice", "acoustics", "speech", "background"):
        assert whole[f"has_{part}"], part
        assert example[f"has_{part}"] == (part not in drop), part
    for stream in ("speech", "background"):
        assert bool(example["stems"][stream].flac) == (stream not in drop)


def test_a_long_clip_can_be_cut_once_its_script_is_dropped() -> None:
    record = make_record("x", num_frames=40)
    with pytest.raises(UserError, match="has a script and 40 frames"):
        _made(record)
    assert _made(record, drop=("script",))["frame_mask"].all()


def test_clips_without_speech_and_script_have_the_prompt() -> None:
    prompt = {"background_prompt": "make sound"}

    def script_of(record: dict[str, Any], **changes: Any) -> str | None:
        example = _made(record, **prompt, **changes)
        ids = example["script_tokens"][example["script_mask"]].tolist()
        return ByteTokenizer().decode(ids) if example["has_script"] else None

    spoken = make_record("x", script="hello")
    assert script_of(spoken) == "hello"
    assert script_of(spoken, drop=("speech", "script")) == "make sound"
    assert script_of(spoken, drop=("script",)) is None  # an unknown script, and not no speech
    assert script_of(make_record("x", script="", speech=b"", has_script=False)) == "make sound"
    assert not _made(make_record("x", script="", speech=b"", has_script=False))["has_script"]


def test_the_voice_can_be_a_random_part_of_the_clips_own_speech() -> None:
    ramp = np.arange(16 * SAMPLES_PER_FRAME) / (20 * SAMPLES_PER_FRAME)
    record = make_record("x", num_frames=16, speech=flac_bytes(ramp))
    starts = set()
    for seed in range(60):
        example = _made(record, seed=seed, voice_source="target")
        voice = example["voice"]
        assert example["has_voice"] and example["voice_mask"].all() and len(voice) == 8 * SAMPLES_PER_FRAME
        start = round(float(voice[0]) * 20)
        np.testing.assert_allclose(voice, ramp[start * SAMPLES_PER_FRAME :][: len(voice)], atol=1e-4)
        np.testing.assert_array_equal(voice, _made(record, seed=seed, voice_source="target")["voice"])
        starts.add(start)
    assert min(starts) == 0 and max(starts) == 8 and len(starts) > 5


def test_a_long_recording_is_a_voice_from_a_random_place() -> None:
    record = make_record("x", voice=flac_bytes(np.linspace(0, 0.9, 30 * SAMPLES_PER_FRAME)))
    first = {float(_made(record, seed=seed)["voice"][0]) for seed in range(8)}
    assert len(first) > 3


@pytest.mark.parametrize("speech", [b"", flac_bytes(np.zeros(10 * SAMPLES_PER_FRAME))])
def test_without_a_sound_of_speech_there_is_no_voice_of_it(speech: bytes) -> None:
    assert not _made(make_record("x", speech=speech), voice_source="target")["has_voice"]


class _Cased(ByteTokenizer):
    reads_case = True


def test_scripts_reach_tokenizers_that_know_case_as_they_were_written() -> None:
    events = json.dumps({"speech": {"written": "Bin blue, NOW!"}})
    record = make_record("x", script="bin blue now", events=events)

    def text_of(tokenizer: ByteTokenizer, record: dict[str, Any]) -> str:
        example = MakeExample("films/a", CONFIG, tokenizer).example(record, np.random.default_rng(0))
        return tokenizer.decode(example["script_tokens"].tolist())

    assert text_of(ByteTokenizer(), record) == "bin blue now"
    assert text_of(_Cased(), record) == "Bin blue, NOW!"
    assert text_of(_Cased(), make_record("x", script="bin blue now")) == "bin blue now"
    record["events"] = json.dumps({"speech": {"written": "Bin blue"}})
    with pytest.raises(UserError, match=r"films/a:x: speech\.written .* is not its script of 3 words"):
        text_of(_Cased(), record)
