import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.mel_rvq.excitation import tone_grid
from dualdub_jax.codecs.mel_rvq.training.spectral_losses import (
    energy_score,
    multi_resolution_mel_distance,
    multi_resolution_stft_distance,
)


def _noise(seed: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((2, 8000)).astype(np.float32)


def test_distance_is_zero_for_equals_and_does_not_see_the_sign():
    for other in (_noise(0), -_noise(0)):
        convergence, log_distance = multi_resolution_stft_distance(other, _noise(0))
        assert float(convergence) < 1e-3 and float(log_distance) < 1e-3


def test_log_distance_measures_the_level():
    _, log_distance = multi_resolution_stft_distance(0.5 * _noise(0), _noise(0))
    np.testing.assert_allclose(log_distance, np.log(2.0), atol=0.02)


def test_a_nearer_signal_is_nearer():
    near, far = _noise(0) + 0.1 * _noise(1), _noise(0) + 0.5 * _noise(1)
    for a, b in zip(
        multi_resolution_stft_distance(near, _noise(0)),
        multi_resolution_stft_distance(far, _noise(0)),
        strict=True,
    ):
        assert float(a) < float(b)


def test_gradient_is_finite_at_silence():
    loss = jax.jit(jax.grad(lambda x: sum(multi_resolution_stft_distance(x, _noise(0)))))
    gradient = loss(jnp.zeros((2, 8000)))
    assert np.all(np.isfinite(gradient))


def _log_distance(a, b):
    return multi_resolution_stft_distance(a, b)[1]


def test_energy_score_asks_for_noise_where_the_mean_distance_asks_for_a_hum():
    target = _noise(0)
    hum = 0.1 * jnp.broadcast_to(tone_grid(13, 640, seed=0)[: target.shape[1]], target.shape)
    noises = (_noise(1), _noise(2))
    assert _log_distance(hum, target) < _log_distance(noises[0], target)
    assert energy_score(_log_distance, noises, target) < energy_score(_log_distance, (hum, hum), target)


def test_energy_score_is_lowest_at_the_right_level():
    levels = [0.5, 0.7, 1.0, 1.4, 2.0]
    scores = [energy_score(_log_distance, (x * _noise(1), x * _noise(2)), _noise(0)) for x in levels]
    assert levels[int(np.argmin(scores))] == 1.0


def test_mel_distance_measures_the_level_and_hears_low_bands_better_than_linear_spectra_do():
    tone = 0.3 * jnp.sin(2 * jnp.pi * 500 / 16_000 * jnp.arange(16_000))[None]
    hiss = 0.1 * jax.random.normal(jax.random.key(0), (1, 16_000))
    resolutions = ((512, 128, 64), (1024, 256, 80))
    distance = multi_resolution_mel_distance(0.5 * hiss, hiss, 16_000, resolutions)
    np.testing.assert_allclose(distance, np.log(2.0), rtol=1e-4)
    of_mels = multi_resolution_mel_distance(hiss, hiss + tone, 16_000, resolutions)
    _, of_spectra = multi_resolution_stft_distance(hiss, hiss + tone, ((512, 128), (1024, 256)))
    assert of_mels > 2 * of_spectra
