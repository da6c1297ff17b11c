"""The puppet suite: what training saw of a clip, of another world, and the same every time."""

import numpy as np
import pytest

from dualdub_jax.data_pipeline.builders.puppet_stage import voices
from dualdub_jax.data_pipeline.builders.puppet_stage.clip import make_clip
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.suites.puppet import PuppetSuite


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    return PuppetSuite(tmp_path_factory.mktemp("work"), limit=5, voice_bank="tone")


def test_half_of_the_clips_have_unseen_voices_and_smaller_limits_are_subsets(suite, tmp_path):
    assert [i[:-7] for i in suite.ids] == ["test_seen", "test_unseen"] * 2 + ["test_seen"]
    assert PuppetSuite(tmp_path, limit=3, voice_bank="tone").ids == suite.ids[:3]
    groups = [suite.load(i).clip.group for i in suite.ids]
    assert groups == ["seen", "unseen"] * 2 + ["seen"]


def test_a_clip_is_the_worlds_clip_as_training_would_have_it(suite):
    found = suite.load("test_unseen-000001").clip
    made = make_clip("tone", "soundtrack", 1, "test_unseen", 1)
    assert found.num_samples == len(made.speech) and found.text == made.script
    for track, stem in ((found.true_speech, made.speech), (found.true_background, made.background)):
        np.testing.assert_allclose(track, stem, atol=2 / 32768)
    np.testing.assert_allclose(found.voice, np.clip(made.voice, -1, 1), atol=2 / 32768)
    frames = found.load_frames()
    assert frames.shape == made.frames.shape and frames.dtype == np.uint8
    assert np.abs(frames.astype(float) - made.frames).mean() < 8  # through H.264
    assert len(found.world["mouth"]) == made.num_frames
    assert [c["time_s"] for c in found.world["contacts"]] == [c["time_s"] for c in made.events["contacts"]]
    assert found.speech is None and found.background is None


def test_the_other_voice_is_of_another_speaker_whatever_the_limit(suite, tmp_path):
    for clip_id in suite.ids:
        footage = suite.load(clip_id)
        split, _, index = footage.notes["other_voice"].rpartition("-")
        other = make_clip("tone", "soundtrack", 1, split, int(index))
        assert other.events["speech"]["voice_id"] != footage.notes["voice"]
        np.testing.assert_allclose(footage.clip.other_voice, np.clip(other.voice, -1, 1), atol=2 / 32768)
    smaller = PuppetSuite(tmp_path, limit=1, voice_bank="tone").load(suite.ids[0])
    assert smaller.notes == suite.load(suite.ids[0]).notes


def test_a_clip_is_rendered_once_and_again_if_it_was_left_half_done(suite, monkeypatch):
    footage = suite.load(suite.ids[0])
    again = PuppetSuite(footage.video.parents[2], limit=5, voice_bank="tone")
    before = footage.video.stat().st_mtime_ns
    assert again.load(suite.ids[0]).fingerprint() == footage.fingerprint()
    assert footage.video.stat().st_mtime_ns == before
    footage.video.with_suffix(".json").unlink()
    footage.video.write_bytes(b"half")
    third = PuppetSuite(footage.video.parents[2], limit=5, voice_bank="tone")
    assert third.load(suite.ids[0]).fingerprint() == footage.fingerprint()


def test_another_seed_is_another_world_and_the_protocol_says_so(suite, tmp_path):
    other = PuppetSuite(tmp_path, limit=5, world_seed=2, voice_bank="tone")
    assert other.load(suite.ids[0]).fingerprint() != suite.load(suite.ids[0]).fingerprint()
    assert suite.protocol()["world_seed"] == 1 and other.protocol()["world_seed"] == 2
    assert len(suite.protocol()["world_code_sha256"]) == 64


def test_single_splits_and_unknown_ones(tmp_path):
    unseen = PuppetSuite(tmp_path, limit=3, split="test_unseen", voice_bank="tone")
    assert unseen.ids == [f"test_unseen-00000{i}" for i in range(3)]
    with pytest.raises(UserError, match="--split train: no such split; choose one of test, test_seen"):
        PuppetSuite(tmp_path, split="train", voice_bank="tone")


def test_missing_voices_say_which_extra_brings_them(tmp_path, monkeypatch):
    def absent(name):
        raise UserError("hibari-tts is not installed; pip install 'dualdub-jax[data]'")

    monkeypatch.setattr(voices, "bank", absent)
    with pytest.raises(UserError, match=r"dualdub-jax\[data\]"):
        PuppetSuite(tmp_path)
