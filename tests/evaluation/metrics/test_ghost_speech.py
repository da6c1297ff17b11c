import dataclasses

import numpy as np
import pytest

from dualdub_jax.evaluation.metrics.ghost_speech import GhostSpeech, ghost_words
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import puppet_clip, spoken_clips


@pytest.fixture(scope="module")
def clips():
    return spoken_clips(4)


def _figure(clips, name="ghost_words"):
    values = [v for v in GhostSpeech().score(clips)[name] if v is not None]
    return next(f for f in GhostSpeech.figures if f.name == name).summarise(values)


def test_true_backgrounds_hold_no_words():
    assert _figure([puppet_clip(index) for index in range(8)]) == 0


@pytest.mark.parametrize("delay_s", [0.04, 0.1, 0.2])
def test_a_background_that_begins_out_of_digital_silence_holds_no_words(clips, delay_s):
    delayed = [degrade.shifted(clip, "background", 1000 * delay_s) for clip in clips]
    assert not any((clip.background[:320] != 0).any() for clip in delayed)
    assert _figure(delayed) == 0


def _with_leak(clip, level_db):
    """Speech in the background, `level_db` above the background."""
    gain = np.sqrt(np.mean(clip.background**2) / np.mean(clip.speech**2)) * 10 ** (level_db / 20)
    return dataclasses.replace(clip, background=clip.background + gain * clip.speech)


def test_speech_in_the_background_is_noticed(clips):
    values = GhostSpeech().score([_with_leak(clip, 0) for clip in clips])["ghost_words_background"]
    assert sum(value >= 2 for value in values) >= 3


def test_swapped_stems_are_noticed(clips):
    assert _figure([degrade.with_tracks_swapped(clip) for clip in clips]) > 300


def test_speech_without_a_script_is_detected(clips):
    unscripted = [dataclasses.replace(clip, text="", background=None) for clip in clips[:2]]
    assert _figure(unscripted, "ghost_words_speech") > 200
    assert _figure(unscripted) == _figure(unscripted, "ghost_words_speech")


def test_speech_that_should_be_there_is_no_ghost(clips):
    alone = degrade.without(clips[0], "background")
    assert GhostSpeech().score([alone]) == {figure.name: [None] for figure in GhostSpeech.figures}


@pytest.mark.parametrize(
    "track",
    [
        np.zeros(16_000),
        np.zeros(0),
        np.full(16_000, np.nan),
        np.eye(1, 32_000, 300)[0],
        0.1 * np.random.default_rng(0).standard_normal(48_000),
        0.3 * np.sin(np.arange(48_000) * 2 * np.pi * 220 / 16_000),
    ],
    ids=["silence", "nothing", "nan", "click", "noise", "tone"],
)
def test_what_is_no_speech_holds_no_words(track):
    assert ghost_words(track) == []


def test_inaudible_speech_does_not_count(clips):
    assert ghost_words(clips[0].speech * 1e-3 / np.abs(clips[0].speech).max()) == []
