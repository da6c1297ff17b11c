import dataclasses

import numpy as np
import pytest

from dualdub_jax.evaluation.metrics.asked_words import AskedWordsMetric
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import spoken_clips


@pytest.fixture(scope="module")
def clips():
    return spoken_clips(6)


def _figures(clips):
    metric = AskedWordsMetric()
    values = metric.score(clips)
    return {figure.name: figure.summarise(values[figure.name]) for figure in metric.figures}


def test_true_speech_has_its_words(clips):
    figures = _figures(clips)
    assert figures["words_dropped"] < 0.15 and figures["words_added"] < 0.1


def test_speech_that_is_spoken_twice_is_added(clips):
    twice = [degrade.changed(clip, "speech", lambda x: np.concatenate([x, x])) for clip in clips[:3]]
    figures = _figures(twice)
    # The whole sentence again: some of it as its words, the rest as other speech.
    assert figures["words_added"] > 0.15 and figures["words_dropped"] < 0.1


def test_half_of_the_speech_is_dropped(clips):
    def half(x):
        return np.where(np.arange(len(x)) < np.flatnonzero(np.abs(x) > 0.02).mean(), x, 0)

    figures = _figures([degrade.changed(clip, "speech", half) for clip in clips[:3]])
    assert figures["words_dropped"] > 0.25


def test_silence_drops_every_word(clips):
    assert _figures([degrade.silenced(clip, "speech") for clip in clips[:2]]) == {
        "words_dropped": 1.0,
        "words_added": 0.0,
    }


def test_level_and_background_do_not_matter(clips):
    changed = [degrade.amplified(degrade.only_noise(c, "background"), "speech", -30) for c in clips[:2]]
    assert _figures(changed) == pytest.approx(_figures(clips[:2]), abs=0.1)


def test_clips_without_a_script_or_speech_are_left_out(clips):
    others = [
        dataclasses.replace(clips[0], text=""),
        degrade.without(clips[0], "text"),
        degrade.without(clips[0], "speech"),
        dataclasses.replace(clips[0], text="zqyx"),
    ]
    assert AskedWordsMetric().score(others) == {f.name: [None] * 4 for f in AskedWordsMetric.figures}


def test_numbers_are_words(clips):
    clip = next(clip for clip in clips if clip.text.split()[-2] in {"two", "nine", "three", "five", "one"})
    digits = {"one": "1", "two": "2", "three": "3", "five": "5", "nine": "9"}
    written = " ".join(digits.get(word, word) for word in clip.text.split())
    assert _figures([dataclasses.replace(clip, text=written)])["words_dropped"] < 0.2
