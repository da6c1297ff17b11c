"""Manifests of other systems' soundtracks: every key, and every mistake by its line."""

import fractions
import json

import numpy as np
import pytest
import soundfile

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ
from dualdub_jax.evaluation.suites.pairs import PairsSuite, without_rounding
from dualdub_jax.evaluation.suites.sound import read_track
from dualdub_jax.evaluation.suites.suite import Missing
from tests.films import make_film


@pytest.fixture
def folder(tmp_path):
    make_film(tmp_path / "film.mp4", num_frames=30)
    for name, num_samples, rate_hz in (
        ("speech", 19_200, 16_000),
        ("background", 57_600, 48_000),
        ("mix", 52_920, 44_100),
        ("tim", 16_000, 16_000),
        ("bo", 16_000, 16_000),
    ):
        tone = 0.3 * np.sin(np.arange(num_samples) / 9)
        soundfile.write(tmp_path / f"{name}.wav", np.stack([tone, tone], axis=1), rate_hz)
    (tmp_path / "events.json").write_text('{"mouth": [0, 1]}')
    return tmp_path


def manifest(folder, *lines):
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_all_keys(folder):
    line = {
        "id": "a/1", "video": "film.mp4", "speech": "speech.wav", "background": "background.wav",
        "mix": "mix.wav", "text": "words", "voice": "tim.wav", "other_voice": "bo.wav", "speaker": "tim",
        "true_speech": "speech.wav", "true_background": "background.wav", "world": "events.json",
        "group": "seen", "generation_s": 2,
    }  # fmt: skip
    footage = PairsSuite(manifest(folder, line)).load("a/1")
    clip = footage.clip
    assert clip.num_samples == 30 * 640
    for track in (clip.speech, clip.background, clip.mixture, clip.true_speech, clip.true_background):
        assert track.dtype == np.float32 and len(track) == clip.num_samples
        assert np.abs(track).max() == pytest.approx(0.3, abs=0.02)  # the resampler overshoots
    assert (clip.text, clip.group, clip.generation_s) == ("words", "seen", 2)
    assert clip.world == {"mouth": [0, 1]} and len(clip.voice) == len(clip.other_voice) == 16_000
    assert clip.load_frames().shape == (30, 64, 64, 3)
    assert footage.files["speech"] == {"ours": folder / "speech.wav", "true": folder / "speech.wav"}
    assert footage.files["mix"] == {"ours": folder / "mix.wav"}
    assert footage.notes == {"speaker": "tim", "contacts_s": []}


def test_every_key_but_the_id_is_optional(folder):
    suite = PairsSuite(manifest(folder, {"id": "a", "mix": "mix.wav"}, {"id": "b"}))
    clip = suite.load("a").clip
    assert clip.num_samples == 19_200 and clip.text is None and clip.load_frames is None
    assert suite.load("b").clip.num_samples == 0 and suite.load("b").clip.mix is None


def test_without_a_film_the_truth_says_how_long_it_was(folder):
    soundfile.write(folder / "long.wav", np.zeros(32_000), 16_000)
    suite = PairsSuite(manifest(folder, {"id": "a", "speech": "speech.wav", "true_speech": "long.wav"}))
    assert suite.load("a").clip.num_samples == 32_000


def test_the_world_may_stand_in_the_line(folder):
    suite = PairsSuite(manifest(folder, {"id": "a", "mix": "mix.wav", "world": {"contacts": []}}))
    assert suite.load("a").clip.world == {"contacts": []}


def test_other_voices_come_from_the_next_line_of_another_speaker(folder):
    lines = [
        {"id": "1", "mix": "mix.wav", "voice": "tim.wav", "speaker": "tim"},
        {"id": "2", "mix": "mix.wav", "voice": "speech.wav", "speaker": "tim"},
        {"id": "3", "mix": "mix.wav", "voice": "bo.wav", "speaker": "bo"},
        {"id": "4", "mix": "mix.wav", "voice": "bo.wav"},
    ]
    suite = PairsSuite(manifest(folder, *lines))
    bo, tim = (suite.load(i).clip.voice for i in "31")
    np.testing.assert_array_equal(suite.load("1").clip.other_voice, bo)
    np.testing.assert_array_equal(suite.load("3").clip.other_voice, tim)
    assert suite.load("4").clip.other_voice is None  # nobody says who speaks


def test_missing_files_are_listed_and_count_as_not_given(folder):
    lines = [
        {"id": "a", "speech": "speech.wav", "background": "gone.wav"},
        {"id": "b", "true_speech": "no.wav"},
    ]
    suite = PairsSuite(manifest(folder, *lines))
    assert suite.missing_media == [
        Missing("a", "background", str(folder / "gone.wav")),
        Missing("b", "speech", str(folder / "no.wav")),
    ]
    assert suite.load("a").clip.background is None and suite.load("a").clip.speech is not None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ({"id": "b", "audio": "x.wav"}, 'line 2: no such key "audio"; the keys are id, video'),
        ({"id": "b", "speech": 3}, 'line 2: "speech" must be a string, got 3'),
        ({"id": "b", "speech": ""}, 'line 2: "speech" is empty'),
        ({"id": "b", "world": [1]}, 'line 2: "world" must be a path or an object'),
        (
            {"id": "b", "generation_s": -1},
            'line 2: "generation_s" must be a number of seconds, at least 0, got -1',
        ),
        ({"id": "a"}, "line 2: id 'a' duplicates that of line 1"),
        ({"mix": "mix.wav"}, 'line 2: has no "id"'),
    ],
)
def test_bad_lines_are_refused_by_their_number(folder, line, message):
    with pytest.raises(UserError, match=rf"manifest\.jsonl, {message}"):
        PairsSuite(manifest(folder, {"id": "a", "mix": "mix.wav"}, line))


def test_nothing_to_score_is_an_error(folder):
    with pytest.raises(UserError, match="nothing to score"):
        PairsSuite(manifest(folder, {"id": "a", "mix": "gone.wav", "voice": "tim.wav"}))
    with pytest.raises(UserError, match=r"gone\.jsonl: cannot be read"):
        PairsSuite(folder / "gone.jsonl")


@pytest.mark.parametrize(
    ("rate_hz", "error", "errors"), [(24_000, 0, {0}), (24_000, 48, {31, 32, 33}), (16_000, 1, {1})]
)
def test_rounding_by_the_resampler_is_no_duration_error(tmp_path, rate_hz, error, errors):
    path, found = tmp_path / "track.wav", set()
    for num_frames in range(30, 130, 7):  # NTSC: no whole number of samples
        duration_s = fractions.Fraction(num_frames * 1001, 30_000)
        num_samples = round(duration_s * SAMPLE_RATE_HZ)
        soundfile.write(path, np.zeros(round(duration_s * rate_hz) + error), rate_hz)
        found.add(len(without_rounding(read_track(path), path, num_samples)) - num_samples)
    assert found <= errors
