"""The words of a finished soundtrack: utterances against their texts, and words where none is due."""

import types

import numpy as np
import pytest

from dualdub_jax.data_pipeline.builders.puppet_stage.voices import bank
from dualdub_jax.dubbing.speech_check import SpokenUtterance
from dualdub_jax.dubbing.utterances import Utterance
from dualdub_jax.evaluation.contracts.metric import Requirement
from dualdub_jax.evaluation.run.recognition import find_recogniser, recognise
from dualdub_jax.media.track import Track, WavWriter

_TEXT = "the old sailor found a heavy stone"


@pytest.fixture(scope="module")
def speech():
    voices = bank("hibari")
    return voices.synthesise(voices.seen[0], _TEXT)[0]


def _project(tmp_path, speech, background, spoken, channels=1):
    tracks = {}
    for name, samples in (("speech", speech), ("background", background)):
        with WavWriter(tmp_path / f"{name}.wav", 16_000, channels) as writer:
            writer.write(samples if channels == 1 else np.stack([samples] * channels, axis=1))
        tracks[name] = Track(tmp_path / f"{name}.wav")
    return types.SimpleNamespace(tracks=tracks, spoken=spoken, used=("speech", "background"))


def _due(start_s, end_s, text=_TEXT, audible=True):
    return SpokenUtterance(Utterance(text, start_s, end_s, (1,)), (start_s, end_s) if audible else None)


@pytest.mark.parametrize("channels", [1, 2])
def test_each_utterance_has_its_words(tmp_path, speech, channels):
    track, duration_s = np.zeros(16_000 * 10, np.float32), len(speech) / 16_000
    track[16_000 : 16_000 + len(speech)] = speech
    spoken = (_due(1, 1 + duration_s), _due(6, 8, audible=False), _due(1, 1 + duration_s, "blue birds sing"))
    advances = []
    found = recognise(_project(tmp_path, track, 0 * track, spoken, channels), advances.append)
    first, second, third = found.utterances
    assert first.num_different == 0 and "sailor found a heavy stone" in first.transcript.lower()
    assert second is None
    assert third.num_different >= 3
    assert found.ghost_words == () and set(found.recognisers) >= {"pocketsphinx", "faster-whisper"}
    assert advances[-1] == 1.0 and advances == sorted(advances)


def test_words_where_none_is_due(tmp_path, speech):
    background = np.random.default_rng(0).standard_normal(16_000 * 40).astype(np.float32) * 1e-3
    background[16_000 * 32 :][: len(speech)] += speech
    track = np.zeros_like(background)
    track[16_000 : 16_000 + len(speech)] = speech
    duration_s = len(speech) / 16_000
    found = recognise(_project(tmp_path, track, background, (_due(1, 1 + duration_s),)), lambda part: None)
    (ghost,) = found.ghost_words
    assert (ghost.track, ghost.start_s, ghost.end_s) == ("background", 30.0, 40.0) and "stone" in ghost.words
    undue = recognise(_project(tmp_path, track, 0 * track, ()), lambda part: None)
    assert [ghost.track for ghost in undue.ghost_words] == ["speech"]


def test_a_missing_package_is_named(monkeypatch):
    assert find_recogniser() == (recognise, "")
    monkeypatch.setattr(
        Requirement, "missing", lambda self: "not installed: pip" if self.module == "pocketsphinx" else None
    )
    assert find_recogniser() == (None, "not installed: pip")
