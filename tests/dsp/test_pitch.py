import numpy as np
import pytest

from dualdub_jax.codecs.mel_rvq.excitation import harmonics
from dualdub_jax.dsp.pitch import estimate_pitch

RATE = 16_000


@pytest.mark.parametrize("hz", [80.0, 133.0, 240.0, 410.0])
def test_pitch_of_a_pulse_train_within_one_percent(hz):
    pulses, _ = harmonics(np.full((1, 50), hz, np.float32), np.ones((1, 50), bool), np.zeros(1), 0, RATE, 320)
    pitch = estimate_pitch(0.1 * pulses, RATE, 320)
    inside = slice(3, -3)
    assert np.all(pitch.is_voiced[0, inside])
    np.testing.assert_allclose(np.exp(pitch.log_hz[0, inside]), hz, rtol=0.01)


def test_noise_and_silence_are_unvoiced():
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert np.mean(estimate_pitch(noise, RATE, 320).is_voiced) < 0.05
    assert not np.any(estimate_pitch(np.zeros(16_000, np.float32), RATE, 320).is_voiced)
