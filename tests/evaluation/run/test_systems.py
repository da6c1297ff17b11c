"""Where soundtracks come from: lengths, silence, determinism, and that shuffling shuffles."""

import dataclasses
import types

import numpy as np
import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.run.stem_store import StemStore, Tracks
from dualdub_jax.evaluation.run.systems import (
    Checkpoint,
    fit,
    shuffle,
    shuffled_tracks,
    true_tracks,
    with_tracks,
)
from dualdub_jax.evaluation.suites.puppet import PuppetSuite
from tests.evaluation.toy import track


@pytest.mark.parametrize("count", [3, 4, 10, 101])
def test_no_film_keeps_its_own_and_no_two_tracks_of_one_film_stay_together(count):
    ids = [f"c{i}" for i in range(count)]
    from_whom = shuffle(ids)
    assert set(from_whom) == set(ids)
    for clip_id, (speech, background) in from_whom.items():
        assert len({clip_id, speech, background}) == 3
    for position in range(2):
        assert sorted(pair[position] for pair in from_whom.values()) == sorted(ids)
    assert from_whom == shuffle(ids)


def test_shuffled_tracks_are_as_long_as_the_film_they_come_to():
    film = Clip(id="a", num_samples=10)
    long = Clip(id="b", num_samples=20, speech=track(0.1, 20), background=track(0.2, 20))
    short = Clip(id="c", num_samples=5, speech=track(0.3, 5), background=track(0.4, 5))
    tracks = shuffled_tracks(film, long, short)
    np.testing.assert_array_equal(tracks.speech, track(0.1, 10))
    np.testing.assert_array_equal(tracks.background, np.r_[track(0.4, 5), track(0.0, 5)])
    assert tracks.mixture is None


def test_a_mixture_is_shuffled_only_where_there_are_no_stems():
    film = Clip(id="a", num_samples=4)
    mixed = Clip(id="b", num_samples=4, mixture=track(0.5, 4))
    both = dataclasses.replace(mixed, speech=track(0.1, 4), background=track(0.2, 4))
    np.testing.assert_array_equal(shuffled_tracks(film, mixed, mixed).mixture, track(0.5, 4))
    assert shuffled_tracks(film, both, both).mixture is None


def test_tracks_replace_whatever_the_clip_had():
    clip = Clip(id="a", num_samples=4, speech=track(0.1, 4), mixture=track(0.3, 4), generation_s=1.0,
                true_speech=track(0.7, 4))  # fmt: skip
    true = with_tracks(clip, true_tracks(clip))
    np.testing.assert_array_equal(true.speech, clip.true_speech)
    assert true.background is None and true.mixture is None and true.generation_s is None


def test_fit_cuts_and_fills():
    np.testing.assert_array_equal(fit(np.arange(4), 2), [0, 1])
    np.testing.assert_array_equal(fit(np.arange(2), 4), [0, 1, 0, 0])


# ------------------------------------------------------------------------------------- with a checkpoint


@pytest.fixture(scope="module")
def puppets(tmp_path_factory):
    return PuppetSuite(tmp_path_factory.mktemp("puppets"), limit=8, voice_bank="tone")


@pytest.fixture(scope="module")
def speaking(puppets):
    return next(f for f in map(puppets.load, puppets.ids) if f.clip.text)


@pytest.fixture(scope="module")
def checkpoint(tiny_bundle):
    return Checkpoint(tiny_bundle, seed=3)


@pytest.fixture(scope="module")
def generated(checkpoint, speaking, tmp_path_factory):
    return checkpoint.generate(speaking, StemStore(tmp_path_factory.mktemp("stems"), "ours", {}))


def test_generated_tracks_are_those_of_dub_as_long_as_the_film_and_the_same_again(
    generated, checkpoint, speaking, tmp_path
):
    assert len(generated.speech) == len(generated.background) == speaking.clip.num_samples
    again = checkpoint.generate(speaking, StemStore(tmp_path, "ours", {}))
    np.testing.assert_array_equal(generated.speech, again.speech)
    assert generated.generation_s > 0
    other = dataclasses.replace(speaking, clip=dataclasses.replace(speaking.clip, id="other"))
    different = checkpoint.generate(other, StemStore(tmp_path, "ours", {}))
    assert (generated.speech != different.speech).any()  # each clip draws from a seed of its own


def test_clips_generated_together_are_the_clips_alone(checkpoint, generated, puppets, speaking, tmp_path):
    ids, store = puppets.ids[:3], StemStore(tmp_path, "ours", {})
    broken = dataclasses.replace(puppets.load(ids[0]), video=None)
    films = {clip_id: puppets.load(clip_id) for clip_id in ids} | {
        "broken": broken,
        speaking.clip.id: speaking,
    }
    made = dict(checkpoint.generate_many(list(films), films.__getitem__, store))
    assert set(made) == set(films) and isinstance(made["broken"], UserError)
    np.testing.assert_array_equal(made[speaking.clip.id].speech, generated.speech)
    np.testing.assert_array_equal(made[speaking.clip.id].background, generated.background)
    assert all(made[clip_id].generation_s > 0 for clip_id in ids)


def test_a_script_that_is_the_name_of_a_file_is_still_spoken(checkpoint, speaking, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "soon").write_text("something else entirely")
    said = []
    model = checkpoint.load()
    monkeypatch.setattr(model.engine, "generate", lambda **kw: said.append(kw["script"]) or 1 / 0)
    film = dataclasses.replace(speaking, clip=dataclasses.replace(speaking.clip, text="soon"))
    with pytest.raises(ZeroDivisionError):
        checkpoint.generate(film, StemStore(tmp_path / "work", "ours", {}))
    assert said == ["soon"]


def _dubbed(generate_s):
    """A soundtrack of two seconds; its background is stereo."""
    progress = types.SimpleNamespace(seconds={"generate": generate_s, "decode": 0.0})
    project = types.SimpleNamespace(num_frames=50, used=("speech", "background"), progress=progress)
    return types.SimpleNamespace(
        project=project,
        film=types.SimpleNamespace(duration_s=2.0),
        sample_rate_hz=16_000,
        speech=track(0.1, 32_000),
        background=np.stack([track(0.1, 32_000), track(0.3, 32_000)], axis=1),
    )


def test_compiling_is_not_measured(tiny_bundle, speaking, tmp_path, monkeypatch):
    fresh = Checkpoint(tiny_bundle)
    seconds = iter([100.0, 1.0, 2.0])
    store = StemStore(tmp_path, "ours", {})
    monkeypatch.setattr(fresh, "_dub", lambda request: _dubbed(next(seconds)))
    assert fresh.generate(speaking, store).generation_s == 1.0  # the first one compiled
    assert fresh.generate(speaking, store).generation_s == 2.0


@pytest.mark.parametrize(("reading", "level"), [("mean", 0.2), ("first_channel", 0.1)])
def test_stereo_is_read_as_files_are(tiny_bundle, speaking, tmp_path, monkeypatch, reading, level):
    fresh = Checkpoint(tiny_bundle, reading=reading)
    monkeypatch.setattr(fresh, "_dub", lambda request: _dubbed(1.0))
    tracks = fresh.generate(speaking, StemStore(tmp_path, "ours", {}))
    np.testing.assert_allclose(tracks.background, track(level, 32_000), atol=1e-6)
    np.testing.assert_allclose(tracks.speech, track(0.1, 32_000), atol=1e-6)


def test_coded_tracks_are_as_long_as_the_film_and_silence_stays_silent(checkpoint, speaking):
    silent = dataclasses.replace(speaking.clip, true_speech=np.zeros(speaking.clip.num_samples, np.float32))
    coded = checkpoint.code(silent)
    assert not coded.speech.any() and len(coded.speech) == silent.num_samples
    assert coded.background.any() and len(coded.background) == silent.num_samples
    assert checkpoint.code(dataclasses.replace(silent, true_background=None)).background is None


def test_coded_tracks_come_from_the_codec(checkpoint, speaking):
    engine, clip = checkpoint.load().engine, speaking.clip
    coded: Tracks = checkpoint.code(clip)
    num_frames = clip.num_frames
    padded = np.pad(clip.true_background, (0, 100 * 640 - clip.num_samples))
    tokens = np.asarray(engine.codecs["background"].encode(padded[None], (np.arange(100) < num_frames)[None]))
    expected = engine.decode("background", tokens[0, :num_frames])[: clip.num_samples]
    gain = max(1.0, np.abs(expected).max() / 10 ** (-1 / 20))
    np.testing.assert_allclose(coded.background, expected / gain, atol=1e-3)


def test_settings_name_all_that_tracks_depend_on(checkpoint, tiny_bundle):
    assert Checkpoint(tiny_bundle, seed=3).settings() == checkpoint.settings()
    assert Checkpoint(tiny_bundle, seed=4).settings() != checkpoint.settings()
    assert Checkpoint(tiny_bundle, seed=4).codec_settings() == checkpoint.codec_settings()
    assert checkpoint.settings()["sampling"]["speech_temperature"] == 1.0
