"""The record schema: stems at any rate, features, annotations, datasets of earlier schemas."""

from fractions import Fraction

import numpy as np
import pytest
import tensorflow_datasets as tfds

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.mixture import open_dataset
from dualdub_jax.errors import UserError
from tests.tiny_dataset import make_record

CLIP = "films:a"


def _sine(rate_hz: int, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)


def test_features_are_those_of_the_record() -> None:
    assert set(record.record_features()) == set(record.RECORD)


@pytest.mark.parametrize("stored_hz", [8000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("asked_hz", [16_000, 24_000])
def test_a_stem_is_resampled_to_the_rate_that_is_asked_for(stored_hz: int, asked_hz: int) -> None:
    stem = record.decode_stem(record.encode_flac(_sine(stored_hz), stored_hz), CLIP, 1.0, asked_hz)
    assert stem.dtype == np.float32 and stem.shape == (asked_hz,)
    middle = slice(asked_hz // 10, -asked_hz // 10)
    np.testing.assert_allclose(stem[middle], _sine(asked_hz)[middle], atol=2e-3)


@pytest.mark.parametrize("off_by", [-1, 0, 1])
def test_one_sample_more_or_less_is_rounding(off_by: int) -> None:
    flac = record.encode_flac(np.full(16_000 + off_by, 0.5), 16_000)
    assert record.decode_stem(flac, CLIP, 1.0, 16_000).shape == (16_000,)


def test_a_stem_of_another_length_is_refused() -> None:
    flac = record.encode_flac(_sine(44_100), 44_100)
    with pytest.raises(UserError, match=r"films:a: its stem has 44100 samples, expected 44104 .* 44100 Hz"):
        record.decode_stem(flac, CLIP, 1.0001, 16_000)


@pytest.mark.parametrize("stored_hz", [16_000, 22_050, 44_100])
@pytest.mark.parametrize(("start", "stop"), [(0, 8000), (34_567, 98_765), (150_000, 184_321), (0, None)])
def test_a_part_of_a_stem_is_that_part_of_the_whole(stored_hz: int, start: int, stop: int | None) -> None:
    noise = 0.3 * np.random.default_rng(0).standard_normal(round(11.52 * stored_hz))
    flac = record.encode_flac(noise, stored_hz)
    whole = record.decode_stem(flac, CLIP, 11.52, 16_000)
    part = record.decode_stem(flac, CLIP, 11.52, 16_000, start, stop)
    assert part.dtype == np.float32
    np.testing.assert_allclose(part, whole[start:stop], atol=0 if stored_hz == 16_000 else 1e-5)


def test_a_stem_is_decoded_no_further_than_asked() -> None:
    """What comes seconds after a part may be damaged; a part that is not there is an error."""
    noise = 0.3 * np.random.default_rng(0).standard_normal(10 * 16_000)
    flac = bytearray(record.encode_flac(noise, 16_000))
    whole = record.decode_stem(bytes(flac), CLIP, 10.0, 16_000)
    flac[len(flac) * 6 // 10 :] = b""
    cut_off = record.make(id="a", duration_s=10.0, background=bytes(flac))
    record.check_stem(cut_off, CLIP, "background", Fraction(1), Fraction(5, 2))
    part = record.decode_stem(bytes(flac), CLIP, 10.0, 16_000, 16_000, 5 * 8000)
    np.testing.assert_array_equal(part, whole[16_000 : 5 * 8000])
    for span_s in ((Fraction(5), Fraction(6)), (Fraction(0), None)):
        with pytest.raises(UserError, match="films:a: its background stem"):
            record.check_stem(cut_off, CLIP, "background", *span_s)


@pytest.mark.parametrize(
    ("flac", "message"),
    [
        (b"fLaC nothing", "its voice cannot be decoded"),
        (record.encode_flac(np.zeros(96_000), 96_000), "up to"),
    ],
)
def test_a_voice_that_is_no_recording_of_ours_is_refused(flac: bytes, message: str) -> None:
    with pytest.raises(UserError, match=f"films:a: .*{message}.*build the dataset again"):
        record.decode_voice(flac, CLIP, 16_000)


def test_a_voice_is_resampled() -> None:
    assert record.decode_voice(record.encode_flac(_sine(48_000), 48_000), CLIP, 24_000).shape == (24_000,)


def _with_features(features: np.ndarray | bytes, rate_hz: float) -> dict:
    encoded = features if isinstance(features, bytes) else record.encode_features(features)
    return make_record("a", 100, video_features=encoded, video_features_rate_hz=rate_hz)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_features_come_with_their_exact_rate(dtype: type) -> None:
    stored = np.arange(120 * 3, dtype=dtype).reshape(120, 3)
    features, rate_hz = record.decode_features(_with_features(stored, 30_000 / 1001), CLIP)
    assert features.dtype == np.float32 and rate_hz == Fraction(30_000, 1001)
    np.testing.assert_array_equal(features, stored)


@pytest.mark.parametrize(
    ("features", "rate_hz", "message"),
    [
        (b"no array", 25.0, "not a .npy array"),
        (np.zeros((100, 3), np.float64), 25.0, r"float64\[100, 3\], expected float16 or float32"),
        (np.zeros(100, np.float32), 25.0, r"float32\[100\]"),
        (np.full((100, 3), np.nan, np.float32), 25.0, "not finite"),
        (np.zeros((100, 3), np.float32), 0.0, "rate 0.0 Hz"),
        (np.zeros((97, 3), np.float32), 25.0, "97 rows, expected 100.0 at 25.000 Hz"),
    ],
)
def test_bad_features_are_named(features: np.ndarray | bytes, rate_hz: float, message: str) -> None:
    with pytest.raises(UserError, match=f"films:a: its video_features .*{message}"):
        record.decode_features(_with_features(features, rate_hz), CLIP)


@pytest.mark.parametrize("key", ["acoustics", "room"])
def test_acoustics_are_read_from_the_events(key: str) -> None:
    events = f'{{"{key}": {{"rt60_s": 0.5, "noise_dbfs": -50}}}}'
    np.testing.assert_array_equal(record.read_acoustics(make_record("a", events=events), CLIP), [0.5, -50])


def test_unknown_acoustics_are_nan_and_bad_ones_refused() -> None:
    assert np.isnan(record.read_acoustics(make_record("a"), CLIP)).all()
    bad = make_record("a", events='{"acoustics": {"rt60_s": 0}}')
    with pytest.raises(UserError, match="films:a: acoustics of its events"):
        record.read_acoustics(bad, CLIP)
    with pytest.raises(UserError, match="a: its events are no JSON object"):
        record.events(make_record("a", events="[1]"))


def test_the_three_cases_of_a_script() -> None:
    assert record.script(make_record("a", script=b"hi")) == "hi"
    assert record.script(make_record("a", script="")) == ""
    assert record.script(make_record("a", script="", has_script=False)) is None


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_duration_is_positive(value: float) -> None:
    with pytest.raises(UserError, match="films:a: duration_s is"):
        record.duration_s({"duration_s": value}, CLIP)


class OldFilms(tfds.core.GeneratorBasedBuilder):
    """A dataset of the first schema: `num_frames` on the grid of 25 Hz, no features, no licence."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = dict(record.record_features())
        for name in ("duration_s", "video_features", "video_features_rate_hz", "licence"):
            del features[name]
        features["num_frames"] = np.int64
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        record_of_today = {**make_record("a", 13), "num_frames": 13}
        yield "a", {name: record_of_today[name] for name in self.info.features}


def test_a_dataset_of_the_first_schema_reads_as_the_present_one(tmp_path) -> None:
    tfds.disable_progress_bar()
    OldFilms(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    (old,) = open_dataset(str(tmp_path), "old_films", "train")
    assert list(old) == list(record.RECORD)
    assert old["duration_s"] == 0.52 and record.text(old["licence"]) == ""
    assert not old["video_features"] and old["video_features_rate_hz"] == 0
    assert record.decode_stem(old["speech"], CLIP, old["duration_s"], 16_000).shape == (13 * 640,)
