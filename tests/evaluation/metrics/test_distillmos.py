"""What surrounds the network; the network itself needs torch, which the suite does without."""

import sys

import numpy as np
import pytest

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.metrics import distillmos
from dualdub_jax.evaluation.metrics.distillmos import DistillMOS

SPEECH = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)


@pytest.fixture
def received(monkeypatch):
    """Tracks that reach the network, which likes everything."""
    tracks = []
    monkeypatch.setattr(distillmos, "predict", lambda samples: tracks.append(samples) or 4.2)
    monkeypatch.setattr(distillmos, "packaged_file", lambda *path: None)
    monkeypatch.setattr(distillmos, "sha256_of", lambda file: "0" * 64)
    return tracks


def _score(speech, text="hello"):
    return DistillMOS().score([Clip("x", 16_000, speech=speech, text=text)])["distillmos"]


def test_the_speech_track_goes_in_as_it_is(received):
    assert _score(SPEECH) == [4.2]
    np.testing.assert_array_equal(received[0], SPEECH)
    assert received[0].dtype == np.float32


def test_holes_go_in_as_silence(received):
    holed = SPEECH.copy()
    holed[100:200] = np.nan
    assert _score(holed) == [4.2]
    assert not received[0][100:200].any()


def test_silence_scores_worst_where_speech_is_expected(received):
    assert _score(np.zeros(16_000, np.float32)) == [1.0]
    assert _score(np.zeros(0, np.float32)) == [1.0]
    assert _score(np.zeros(16_000, np.float32), text=None) == [None]
    assert not received


def test_clips_without_speech_are_left_out(received):
    assert _score(None) == [None]
    assert _score(SPEECH, text="") == [None]
    assert not received


def test_a_torchaudio_that_does_not_fit_is_left_alone(monkeypatch):
    loaded = object()
    monkeypatch.setitem(sys.modules, "torchaudio", loaded)
    with distillmos._without_torchaudio():
        assert sys.modules["torchaudio"] is not loaded
    assert sys.modules["torchaudio"] is loaded


def test_nothing_of_the_stand_in_stays(monkeypatch):
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    with distillmos._without_torchaudio():
        assert "torchaudio" in sys.modules
    assert "torchaudio" not in sys.modules


def test_a_missing_network_is_reported_with_its_installation(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    torch, network, shared = (requirement.missing() for requirement in DistillMOS.requirements)
    assert "dualdub-jax[eval-torch]" in torch
    # Without dependencies: they would bring a torchaudio that may not fit the torch that is there.
    assert "--no-deps distillmos==" in network and "--no-deps xls-r-sqa==" in shared
