"""What is kept comes back to the bit, and what was made from something else is not taken for it."""

import dataclasses

import numpy as np
import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.run.score_store import ScoreStore, clip_digest, metric_digest, score_key
from dualdub_jax.evaluation.run.stem_store import StemStore, Tracks, file_stem
from tests.evaluation.toy import Level, track


@pytest.fixture
def clip() -> Clip:
    return Clip(id="a", num_samples=4, speech=track(0.1, 4), background=track(0.2, 4), generation_s=1.0)


def test_stems_on_the_16_bit_lattice_come_back_to_the_bit(tmp_path):
    store = StemStore(tmp_path, "ours", {"seed": 0})
    speech = (np.arange(-32768, 32768, 7) / 32768).astype(np.float32)
    store.put("clip", "inputs", Tracks(speech, speech[::-1], generation_s=1.5))
    found = StemStore(tmp_path, "ours", {"seed": 0}).get("clip")
    np.testing.assert_array_equal(found.speech, speech)
    np.testing.assert_array_equal(found.background, speech[::-1])
    assert found.generation_s == 1.5 and found.mixture is None


def test_an_absent_stem_stays_absent(tmp_path):
    store = StemStore(tmp_path, "codec", {})
    store.put("clip", "inputs", Tracks(None, track(0.1)))
    assert store.has("clip", "inputs") and store.get("clip").speech is None


def test_other_inputs_other_settings_and_half_written_stems_are_not_taken(tmp_path):
    store = StemStore(tmp_path, "ours", {"seed": 0})
    store.put("clip", "inputs", Tracks(track(0.1), track(0.2)))
    assert store.has("clip", "inputs")
    assert not store.has("clip", "another film")
    assert not StemStore(tmp_path, "ours", {"seed": 1}).has("clip", "inputs")
    store.path("clip", "background.flac").unlink()
    assert not store.has("clip", "inputs")
    store.path("clip", "json").write_text('{"inputs": "inp')
    assert not store.has("clip", "inputs")


def test_any_id_gives_a_file_name_of_its_own():
    strange = ["a/b", "a_b", "a:b", "../../etc", "", "é" * 300, "a.b"]
    names = [file_stem(clip_id) for clip_id in strange]
    assert len(set(names)) == len(names)
    assert all(name and "/" not in name and "." not in name and len(name) < 120 for name in names)
    assert file_stem("test_seen-000001") == "test_seen-000001"


def test_scores_come_back_with_their_shapes_and_their_absence(tmp_path):
    store = ScoreStore(tmp_path / "scores.sqlite")
    values = {
        "a": np.array(1.5),
        "b": None,
        "c": np.random.default_rng(0).normal(size=(3, 5)),
        "d": np.zeros((0, 5)),
    }
    store.put("key", values)
    store.close()
    found = ScoreStore(tmp_path / "scores.sqlite").get("key")
    assert list(found) == list(values) and found["b"] is None
    for name in "acd":
        np.testing.assert_array_equal(found[name], values[name])
        assert found[name].shape == values[name].shape
    assert ScoreStore(tmp_path / "scores.sqlite").get("other") is None


def test_a_file_that_is_no_store_is_named(tmp_path):
    (tmp_path / "scores.sqlite").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(UserError, match=r"scores\.sqlite: cannot be used"):
        ScoreStore(tmp_path / "scores.sqlite")


def test_keys_change_with_all_that_scores_depend_on(clip):
    swapped = dataclasses.replace(clip, speech=clip.background, background=clip.speech)
    moved = dataclasses.replace(clip, speech=None, mixture=clip.speech)
    digests = [
        clip_digest("film", clip),
        clip_digest("another film", clip),
        clip_digest("film", swapped),
        clip_digest("film", moved),
        clip_digest("film", dataclasses.replace(clip, background=None)),
        clip_digest("film", dataclasses.replace(clip, generation_s=2.0)),
    ]
    assert len(set(digests)) == len(digests)
    assert clip_digest("film", dataclasses.replace(clip)) == digests[0]
    assert metric_digest(Level()) == metric_digest(Level())
    assert metric_digest(Level("2")) != metric_digest(Level("1"))
    assert metric_digest(OtherWeights()) != metric_digest(Level())
    keys = [score_key(metric, clip) for metric in ("a", "b") for clip in ("a", "b")]
    assert len(set(keys)) == 4


class OtherWeights(Level):
    def settings(self) -> str:
        return "digest of weights that the user chose"


def test_weights_are_remembered_for_runs_that_score_nothing(tmp_path):
    store, metric = ScoreStore(tmp_path / "scores.sqlite"), Level()
    assert store.get_weights(metric) == ""
    metric.weights_sha256 = "ab" * 32
    store.put_weights(metric)
    assert store.get_weights(Level()) == "ab" * 32
    assert store.get_weights(Level("2")) == ""
