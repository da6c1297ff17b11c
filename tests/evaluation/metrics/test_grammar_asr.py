import dataclasses

import pytest

from dualdub_jax.evaluation.listeners import closed_grammar
from dualdub_jax.evaluation.metrics.grammar_asr import GrammarASR, recognise
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import spoken_clips


@pytest.fixture(scope="module")
def clips():
    return [clip for clip in spoken_clips(7) if closed_grammar.holds(clip.text)]


def _figures(clips):
    metric = GrammarASR()
    values = metric.score(clips)
    return {figure.name: figure.summarise(values[figure.name]) for figure in metric.figures}


@pytest.fixture(scope="module")
def true(clips):
    return _figures(clips)


def test_true_speech_is_understood(true):
    assert true["wer_no_letters"] < 0.15
    assert true["wer"] < 0.25


def test_all_words_are_the_letters_and_the_others(true):
    assert 6 * true["wer"] == pytest.approx(5 * true["wer_no_letters"] + true["wer_letters"])


def test_shuffled_speech_is_as_wrong_as_chance(clips):
    assert _figures(degrade.shuffled(clips))["wer_no_letters"] > 0.55


def test_noise_costs_words(clips, true):
    noisy = _figures([degrade.with_noise(clip, "speech", -5) for clip in clips])
    assert noisy["wer_no_letters"] > true["wer_no_letters"] + 0.2


def test_swapped_stems_hold_no_words(clips):
    assert _figures([degrade.with_tracks_swapped(clip) for clip in clips[:2]])["wer_no_letters"] > 0.55


def test_time_level_and_background_do_not_matter(clips):
    degraded = [degrade.amplified(degrade.only_noise(c, "background"), "speech", -30) for c in clips[:2]]
    assert _figures(degraded)["wer"] == pytest.approx(_figures(clips[:2])["wer"], abs=0.1)


@pytest.mark.parametrize("spoil", [degrade.silenced, lambda c, t: degrade.with_length(c, t, 0)])
def test_silence_deletes_every_word(clips, spoil):
    assert set(_figures([spoil(clips[0], "speech")]).values()) == {1.0}


def test_clips_outside_the_grammar_are_left_out(clips):
    others = [
        dataclasses.replace(clips[0], text="the old sailor found a heavy stone"),
        dataclasses.replace(clips[0], text=""),
        degrade.without(clips[0], "text"),
        degrade.without(clips[0], "speech"),
    ]
    assert GrammarASR().score(others) == {f.name: [None] * 4 for f in GrammarASR.figures}


def test_a_clip_does_not_depend_on_its_neighbours(clips):
    alone = recognise(clips[1].speech)
    recognise(clips[0].speech)
    assert recognise(clips[1].speech) == alone


def test_weights_are_named(clips):
    metric = GrammarASR()
    metric.score(clips[:1])
    assert len(metric.weights_sha256) == 64
