"""The voice that a codec leaves out of its tokens: what the encoder may know, and what the reader must."""

import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.mel_rvq.speaker import NUM_CEPSTRA, content_features, level_reference
from dualdub_jax.dsp.mel import log_mel
from dualdub_jax.dsp.pitch import estimate_pitch

RATE, HOP = 16_000, 320


def _vowel(pitch_hz: float, glide: float = 1.0) -> np.ndarray:
    """A second of harmonics under one formant, whose pitch ends `glide` times higher than it began."""
    time_s = np.arange(RATE) / RATE
    hz = pitch_hz * glide**time_s
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    sound = np.zeros(RATE)
    for k in range(1, int(4000 / (pitch_hz * glide))):
        sound += np.exp(-(((k * hz - 700) / 900) ** 2)) * np.sqrt(pitch_hz) * np.cos(k * phase)
    return (0.1 * sound / np.std(sound)).astype(np.float32)


def _features(waveform: np.ndarray) -> np.ndarray:
    waveform = jnp.asarray(waveform)[None]
    mel = log_mel(waveform, RATE, 1024, HOP, 80)
    mask = jnp.ones(mel.shape[:2], bool)
    return np.asarray(content_features(mel, estimate_pitch(waveform, RATE, HOP), mask))[0, 5:-5]


def test_the_pitch_contour_is_encoded_and_its_height_is_not():
    low, high = _features(_vowel(110.0, 1.4)), _features(_vowel(200.0, 1.4))
    contour = low[:, NUM_CEPSTRA]
    np.testing.assert_allclose(contour, high[:, NUM_CEPSTRA], atol=0.1)
    assert contour[-1] - contour[0] > 0.5
    assert (low[:, NUM_CEPSTRA + 1] == 1.0).all()


def test_harmonics_are_left_out_of_the_spectrum():
    """110 against 190 Hz changes the log-mels by far more than what is left of them."""
    low, high = _vowel(110.0), _vowel(190.0)
    mels = [np.asarray(log_mel(jnp.asarray(x)[None], RATE, 1024, HOP, 80))[0, 5:-5] for x in (low, high)]
    in_mels = np.sqrt(np.mean((mels[0] - mels[1])[:, :40] ** 2)) / np.std(mels[0])
    a, b = (_features(x)[:, 1:NUM_CEPSTRA] for x in (low, high))
    assert np.sqrt(np.mean((a - b) ** 2)) / np.sqrt(np.mean(a**2)) < 0.6 * in_mels


def test_the_reference_has_one_level_whatever_it_was_recorded_at():
    voice = np.stack([_vowel(150.0), 0.01 * _vowel(150.0)])
    mask = np.zeros(voice.shape, bool)
    mask[:, :8000] = True
    levelled = np.asarray(level_reference(jnp.asarray(voice), jnp.asarray(mask)))
    np.testing.assert_allclose(levelled[0], levelled[1], rtol=1e-3, atol=1e-5)
    assert not levelled[:, 8000:].any()
    assert not np.asarray(level_reference(jnp.zeros((1, 100)), jnp.ones((1, 100), bool))).any()
