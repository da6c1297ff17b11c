import jax
import numpy as np

from dualdub_jax.dsp.griffin_lim import griffin_lim
from dualdub_jax.dsp.mel import log_mel

RATE, N_FFT, HOP = 16_000, 1024, 320


def test_griffin_lim_gives_back_the_mel_of_a_vowel_like_sound():
    time_s = np.arange(RATE) / RATE
    x = sum(np.sin(2 * np.pi * 150.0 * k * time_s) / k for k in range(1, 30))[None].astype(np.float32) * 0.1
    mel = log_mel(x, RATE, N_FFT, HOP, 80)
    y = griffin_lim(mel, RATE, N_FFT, HOP, jax.random.key(0), num_iterations=30)
    assert y.shape == x.shape
    inside = slice(3, -3)
    error = np.abs(log_mel(y, RATE, N_FFT, HOP, 80) - mel)[:, inside]
    assert np.mean(error) < 0.3
