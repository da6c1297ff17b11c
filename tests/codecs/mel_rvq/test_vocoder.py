import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.codecs.mel_rvq.vocoder import Vocoder, synthesize
from dualdub_jax.dsp.mel import LOG_FLOOR, log_mel

CONFIG = MelRVQConfig(width=8, vocoder_width=16, vocoder_num_blocks=1)


def _heard(mel: np.ndarray, tonal_source: str, loud: bool = False) -> np.ndarray:
    """What an untrained vocoder makes of a log-mel; `loud`: with its gains at their highest."""
    config = dataclasses.replace(CONFIG, tonal_source=tonal_source)
    vocoder = Vocoder(config)
    mask = np.ones(mel.shape[:2], bool)
    inputs = (jnp.asarray(mel), jnp.zeros((mel.shape[0], mel.shape[1] // 2, config.width)), mask)
    params = nn.unbox(jax.jit(vocoder.init)(jax.random.key(0), *inputs))["params"]
    if loud:
        params["gains"]["bias"] = params["gains"]["bias"] + 100.0

    @jax.jit
    def speak(params):
        frames = vocoder.apply({"params": params}, *inputs)
        return synthesize(frames, mask, config, jnp.int32(0), jnp.zeros(mel.shape[0]))[0]

    return np.asarray(speak(params))


@pytest.mark.parametrize("tonal_source", ["pitch", "grid"])
def test_the_floor_of_the_log_mel_is_digital_silence(tonal_source):
    mel = np.full((1, 20, 80), np.log(LOG_FLOOR), np.float32)
    assert np.abs(_heard(mel, tonal_source, loud=True)).max() < 1e-5


@pytest.mark.parametrize("tonal_source", ["pitch", "grid"])
def test_an_untrained_vocoder_already_has_the_level_of_the_log_mel(tonal_source):
    rng = np.random.default_rng(0)
    level = 0.02 * (1.0 + np.sin(np.linspace(0.0, 6.0, 100 * 320))) + 0.002
    noise = (level * rng.standard_normal(level.shape)).astype(np.float32)[None]
    mel = np.asarray(log_mel(noise, 16_000, CONFIG.n_fft, CONFIG.hop_length, CONFIG.n_mels))
    again = np.asarray(
        log_mel(_heard(mel, tonal_source), 16_000, CONFIG.n_fft, CONFIG.hop_length, CONFIG.n_mels)
    )
    smooth = np.abs((again - mel).mean(axis=-1))  # single bands of noise are random
    # Two sources of equal strength are 3 dB (0.35 nats) louder than one.
    assert np.mean(smooth) < 0.5


def test_an_onset_in_the_log_mel_is_heard_within_20_ms():
    rng = np.random.default_rng(0)
    onset = 16_000 + 100
    wave = np.zeros((1, 32_000), np.float32)
    decay = np.exp(-np.arange(8_000) / 800.0)
    wave[0, onset : onset + 8_000] = 0.5 * decay * rng.standard_normal(8_000)
    mel = np.asarray(log_mel(wave, 16_000, CONFIG.n_fft, CONFIG.hop_length, CONFIG.n_mels))
    heard = _heard(mel, "grid")[0]
    envelope = np.convolve(heard**2, np.ones(80) / 80, "same")
    rise = int(np.argmax(envelope > 0.1 * envelope.max()))
    assert abs(rise - onset) < 0.020 * 16_000
