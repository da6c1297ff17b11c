"""YAMNet's front end, and the packaged network, which `make test` installs."""

import numpy as np
import pytest

from dualdub_jax.evaluation.listeners import yamnet

_SPEECH, _MUSIC, _SILENCE = 0, 132, 494


def _sine(hz: float, seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * 16000)) / 16000)


@pytest.mark.parametrize(
    ("num_samples", "num_patches"), [(0, 1), (100, 1), (15600, 1), (15760, 2), (23280, 2), (48000, 6)]
)
def test_patches_cover_the_whole_track(num_samples, num_patches):
    found = yamnet.patches(np.zeros(num_samples))
    assert found.shape == (num_patches, 96, 64)
    np.testing.assert_allclose(found, np.log(0.001))


def test_a_sine_lies_in_its_band():
    mel = 1127 * np.log1p(1000 / 700)
    lowest, highest = 1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700)
    expected = (mel - lowest) / (highest - lowest) * 65 - 1
    assert abs(yamnet.patches(_sine(1000, 1.0))[0].mean(axis=0).argmax() - expected) < 1


def test_nan_is_silence():
    np.testing.assert_allclose(yamnet.patches(np.full(16000, np.nan)), np.log(0.001))


def test_silence_is_tagged_as_silence():
    logits, embeddings = yamnet.load()(np.zeros(32000))
    assert logits.shape == (len(logits), 521)
    assert embeddings.shape == (len(logits), 1024)
    assert (logits.argmax(axis=1) == _SILENCE).all()
    assert (logits[:, _SPEECH] < logits[:, _SILENCE]).all()
    assert len(yamnet.load().sha256) == 64


def test_chords_and_noise_are_tagged_differently():
    model = yamnet.load()
    chord = sum(_sine(hz, 3.0) for hz in (220, 277.2, 329.6)) / 3
    noise = 0.1 * np.random.default_rng(0).standard_normal(48000)
    assert model(chord)[0][:, _MUSIC].mean() > model(noise)[0][:, _MUSIC].mean() + 2
