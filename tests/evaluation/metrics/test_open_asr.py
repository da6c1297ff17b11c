import dataclasses

import numpy as np
import pytest

from dualdub_jax.evaluation.listeners import closed_grammar
from dualdub_jax.evaluation.metrics.open_asr import OpenASR, transcript
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import spoken_clips


@pytest.fixture(scope="module")
def clips():
    spoken = spoken_clips(12)
    grid = [clip for clip in spoken if closed_grammar.holds(clip.text)]
    free = [clip for clip in spoken if not closed_grammar.holds(clip.text)]
    return [*grid[:3], *free[:2]]


@pytest.fixture(scope="module")
def true(clips):
    return _figures(clips)


def _figures(clips):
    metric = OpenASR()
    values = metric.score(clips)
    return {f.name: f.summarise([v for v in values[f.name] if v is not None]) for f in metric.figures}


def test_true_speech_is_understood(true):
    assert true["wer_open_free"] < 0.2
    assert true["wer_open"] < 0.4
    assert true["cer_open"] < true["wer_open"]


def test_shuffled_speech_is_wrong(clips, true):
    assert _figures(degrade.shuffled(clips))["wer_open"] > true["wer_open"] + 0.4


def test_noise_costs_words(clips, true):
    assert _figures([degrade.with_noise(c, "speech", -5) for c in clips])["wer_open"] > true["wer_open"] + 0.2


def test_each_clip_is_of_one_kind(clips):
    values = OpenASR().score(clips)
    for grid, free in zip(values["wer_open_grid"], values["wer_open_free"], strict=True):
        assert (grid is None) != (free is None)


def test_level_does_not_matter(clips):
    quiet = degrade.amplified(clips[-1], "speech", -40)
    assert transcript(quiet.speech) == transcript(clips[-1].speech)


def test_silence_and_noise_have_no_words():
    assert transcript(np.zeros(32_000, np.float32)) == ""
    assert transcript(np.zeros(0, np.float32)) == ""
    assert transcript(0.1 * np.random.default_rng(0).standard_normal(32_000)) == ""


def test_clips_without_a_text_are_left_out(clips):
    others = [
        dataclasses.replace(clips[0], text=""),
        degrade.without(clips[0], "text"),
        degrade.without(clips[0], "speech"),
    ]
    assert OpenASR().score(others) == {f.name: [None] * 3 for f in OpenASR.figures}
