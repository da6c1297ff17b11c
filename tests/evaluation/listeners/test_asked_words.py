"""Repeated, dropped and foreign words in recordings of known words."""

import functools

import numpy as np
import pytest

from dualdub_jax.data_pipeline.builders.puppet_stage.voices import bank
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ
from dualdub_jax.evaluation.listeners.asked_words import OTHER, AskedWords, recognise

_TEXTS = (
    "the old sailor found a heavy stone",
    "place green by q seven please",
    "my grandmother borrowed the yellow bicycle",
    "did the captain ever sing together",
)


@functools.cache
def _spoken(text: str):
    voices = bank("hibari")
    speech, times = voices.synthesise(voices.seen[_TEXTS.index(text) * 5], text)
    ends = [(round(a * SAMPLE_RATE_HZ), round(b * SAMPLE_RATE_HZ)) for _, a, b in times.words]
    return speech, ends


@pytest.mark.parametrize("text", _TEXTS)
def test_whole_sentences_have_their_words(text):
    found = recognise(_spoken(text)[0], text)
    assert found.asked == tuple(text.split()) and found.dropped == found.added == ()


@pytest.mark.parametrize(("text", "place"), [(_TEXTS[0], 2), (_TEXTS[1], 4), (_TEXTS[2], 5), (_TEXTS[3], 0)])
def test_a_repeated_word_is_added(text, place):
    speech, ends = _spoken(text)
    start, end = ends[place]
    found = recognise(np.concatenate([speech[:end], speech[start:]]), text)
    assert len(found.added) >= 1 and found.dropped == ()


@pytest.mark.parametrize(("text", "place"), [(_TEXTS[0], 5), (_TEXTS[1], 1), (_TEXTS[2], 2), (_TEXTS[3], 2)])
def test_a_word_that_is_cut_out_is_dropped(text, place):
    speech, ends = _spoken(text)
    start, end = ends[place]
    found = recognise(np.concatenate([speech[:start], speech[end:]]), text)
    assert found.dropped == (text.split()[place],) and found.added == ()


def test_other_speech_is_neither_asked_nor_silent():
    found = recognise(_spoken(_TEXTS[2])[0], _TEXTS[1])
    assert len(found.dropped) >= 4 and OTHER in found.added


@pytest.mark.parametrize("speech", [np.zeros(16_000, np.float32), np.zeros(0, np.float32)])
def test_silence_drops_every_word(speech):
    assert recognise(speech, _TEXTS[0]).dropped == tuple(_TEXTS[0].split())


def test_noise_has_hardly_any_word():
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE_HZ)
    assert len(recognise(noise, _TEXTS[0]).dropped) >= 5


def test_words_without_a_pronunciation_are_not_checked():
    speech, ends = _spoken(_TEXTS[2])
    text = _TEXTS[2].replace("bicycle", "zqyxicle")
    found = recognise(speech, text)
    assert found.unknown == ("zqyxicle",) and found.dropped == found.added == ()
    start, end = ends[1]
    assert recognise(np.concatenate([speech[:start], speech[end:]]), text).dropped == ("grandmother",)
    assert recognise(speech, "zqyxicle") == AskedWords((), (), ("zqyxicle",))


def test_a_recording_does_not_depend_on_those_before_it():
    speech, _ = _spoken(_TEXTS[0])
    alone = recognise(speech, _TEXTS[0])
    recognise(0.01 * speech[::-1], _TEXTS[1])
    assert recognise(speech, _TEXTS[0]) == alone


def test_differences_are_counted_once():
    assert AskedWords(("a", "b", "c"), ("a", "x", "c")).num_different == 1
    assert AskedWords(("a", "b"), ("a", "b", "b", "b")).added == ("b", "b")
    assert AskedWords((), ()).num_different == 0
