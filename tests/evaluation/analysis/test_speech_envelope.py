"""The speech envelope is the curve that opens the world's mouths."""

import numpy as np
import pytest

from dualdub_jax.data_pipeline.builders.puppet_stage import acoustics
from dualdub_jax.data_pipeline.builders.puppet_stage.voices import bank
from dualdub_jax.evaluation.analysis.speech_envelope import speech_envelope


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    voices = bank("tone")
    samples, _ = voices.synthesise(voices.seen[0], "bin blue at seven again")
    return np.pad(samples, (4000, 6000))[: len(samples) // 640 * 640]


def test_agrees_with_the_world(speech):
    num_frames = len(speech) // 640
    mouth = acoustics.speech_envelope(speech, 640, num_frames)
    envelope = speech_envelope(speech)(np.arange(num_frames) / 25)
    assert np.corrcoef(mouth, envelope)[0, 1] > 0.99
    assert np.abs(mouth - envelope).mean() < 0.05


def test_gain_and_noise_floor_are_taken_away(speech):
    times_s = np.arange(len(speech) // 640) / 25
    clean = speech_envelope(speech)(times_s)
    noise = np.random.default_rng(0).standard_normal(len(speech)) * 10 ** (-50 / 20)
    np.testing.assert_allclose(speech_envelope(0.1 * speech)(times_s), clean, atol=0.05)
    assert np.corrcoef(speech_envelope(speech + noise)(times_s), clean)[0, 1] > 0.98


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(50), np.zeros(16000), np.full(16000, np.nan)])
def test_silence_is_flat(samples):
    values = speech_envelope(samples)(np.arange(10) / 25)
    assert np.isnan(values).all() or not np.nanmax(values)


def test_outside_the_track_nothing_is_known(speech):
    assert np.isnan(speech_envelope(speech)(np.array([-0.1, len(speech) / 16000 + 0.1]))).all()
