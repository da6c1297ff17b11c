import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.dsp.stft import frame, istft, overlap_add, stft

SIZES = [(640, 160), (1280, 320), (1024, 320), (512, 128)]


def _noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("n_fft", "hop_length"), SIZES)
def test_istft_inverts_stft_to_the_last_sample(n_fft, hop_length):
    x = _noise(2, 20 * hop_length)
    np.testing.assert_allclose(istft(stft(x, n_fft, hop_length), n_fft, hop_length), x, atol=3e-6)


@pytest.mark.parametrize(("n_fft", "hop_length"), SIZES)
def test_frames_are_centred_on_their_hops(n_fft, hop_length):
    x = np.zeros(10 * hop_length, np.float32)
    middle = 4 * hop_length + hop_length // 2
    x[middle] = 1.0
    assert np.argmax(np.asarray(frame(x, n_fft, hop_length))[4]) == n_fft // 2


def test_overlap_add_is_the_transpose_of_frame():
    x, frames = _noise(9 * 320), _noise(9, 1024, seed=1)
    left = jnp.vdot(frame(x, 1024, 320), frames)
    right = jnp.vdot(x, overlap_add(frames, 320))
    np.testing.assert_allclose(left, right, rtol=1e-4)


def test_istft_does_not_use_frames_outside_the_mask():
    x = _noise(1, 20 * 160)
    mask = np.arange(20)[None] < 12
    spectra = np.array(stft(np.where(np.repeat(mask, 160, axis=1), x, 0.0), 640, 160))
    spectra[:, 12:] = np.nan
    y = np.asarray(istft(spectra, 640, 160, mask))
    # Near the end the lost frames held a part of the signal's energy, but no part that others did not hold.
    np.testing.assert_allclose(y[:, : 12 * 160], x[:, : 12 * 160], atol=3e-6)
    assert np.all(y[:, 12 * 160 :] == 0.0)


def test_gradient_is_finite_at_silence():
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(istft(stft(x, 640, 160), 640, 160) ** 2)))(jnp.zeros(3200))
    assert np.all(np.isfinite(gradient))


def test_odd_margin_is_refused():
    with pytest.raises(ValueError, match="n_fft - hop_length"):
        frame(np.zeros(1000, np.float32), 513, 128)
