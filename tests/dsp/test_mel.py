import jax
import numpy as np
import pytest

from dualdub_jax.dsp.mel import LOG_FLOOR, log_mel, mel_band_edges_hz, mel_filterbank

RATE = 16_000


def _log_mel(waveform):
    return log_mel(waveform, RATE, n_fft=1024, hop_length=320, n_mels=80)


def test_digital_silence_is_the_floor_exactly():
    mel = np.asarray(_log_mel(np.zeros((2, 6400), np.float32)))
    assert mel.shape == (2, 20, 80)
    np.testing.assert_array_equal(mel, np.float32(np.log(LOG_FLOOR)))


@pytest.mark.parametrize("hz", [220.0, 1000.0, 5000.0])
def test_a_sine_is_loudest_in_its_band(hz):
    x = np.sin(2 * np.pi * hz * np.arange(16_000) / RATE).astype(np.float32)
    band = int(np.argmax(np.asarray(_log_mel(x))[25]))
    edges = mel_band_edges_hz(80, RATE)
    assert edges[band] < hz < edges[band + 2]


def test_log_mel_follows_the_level_by_the_decibel():
    x = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    np.testing.assert_allclose(_log_mel(x) - _log_mel(0.1 * x), np.log(10.0), atol=1e-3)


def test_frames_are_whole_hops_and_batches_are_free():
    x = np.random.default_rng(0).standard_normal((3, 2, 1000)).astype(np.float32)
    mel = _log_mel(x)
    assert mel.shape == (3, 2, 3, 80)
    np.testing.assert_allclose(jax.vmap(jax.vmap(_log_mel))(x), mel, atol=1e-5)


def test_bands_sum_to_one_and_too_many_are_refused():
    np.testing.assert_allclose(mel_filterbank(80, 1024, RATE).sum(axis=0), 1.0, rtol=1e-5)
    with pytest.raises(ValueError, match="too many"):
        mel_filterbank(400, 256, RATE)
