"""Kaldi's log-mel filterbank energies in JAX, the front end of BEATs.

Frames lie entirely inside the signal ("snip edges"). Mean subtraction, pre-emphasis and windowing apply per
frame; there is no dither.

Source: Kaldi's `compute-fbank-feats` with the settings of BEATs (128 bands of the power spectrum from 20 Hz
to 8 kHz, 25 ms windows every 10 ms, samples scaled to 16-bit integers); tests compare with
kaldi-native-fbank.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

SAMPLE_RATE_HZ = 16_000
WINDOW_LENGTH = 400  # 25 ms
HOP_LENGTH = 160  # 10 ms
_N_FFT = 512
_LOWEST_HZ = 20.0
_PREEMPHASIS = 0.97
_FULL_SCALE = 2.0**15
_LEAST_ENERGY = float(np.finfo(np.float32).eps)

# Statistics of AudioSet's log-mels from BEATs' training; the factor 2 gives a standard deviation of 0.5.
_MEAN_LOG_MEL, _STD_LOG_MEL = 15.41663, 6.55582


def num_frames(num_samples: int) -> int:
    """Number of frames of a signal; 0 if it is shorter than a window."""
    return max(0, 1 + (num_samples - WINDOW_LENGTH) // HOP_LENGTH)


def log_mel(waveform: jax.Array, num_mels: int = 128) -> jax.Array:
    """Natural logarithm of mel band energies.

    Args:
        waveform: float32[..., S] at 16 kHz in [-1, 1], S at least `WINDOW_LENGTH`.
        num_mels: number of bands between 20 Hz and 8 kHz. With 128, some of the lowest contain no bin of the
            spectrum and are constant at log(1.19e-7), as in Kaldi.

    Returns:
        float32[..., num_frames(S), num_mels].

    Raises:
        ValueError: the signal is shorter than a window.
    """
    frames = _frame(jnp.asarray(waveform, jnp.float32) * _FULL_SCALE)
    frames = frames - jnp.mean(frames, axis=-1, keepdims=True)
    # The first sample of a frame is its own predecessor.
    before = jnp.concatenate([frames[..., :1], frames[..., :-1]], axis=-1)
    frames = (frames - _PREEMPHASIS * before) * povey_window()
    spectrum = jnp.fft.rfft(frames, n=_N_FFT)[..., : _N_FFT // 2]
    power = jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2
    energy = jnp.matmul(power, mel_filterbank(num_mels), precision="highest")
    return jnp.log(jnp.maximum(energy, _LEAST_ENERGY))


def beats_features(waveform: jax.Array, num_mels: int = 128) -> jax.Array:
    """`log_mel`, standardised as BEATs expects: float32[..., S] -> float32[..., T, num_mels]."""
    return (log_mel(waveform, num_mels) - _MEAN_LOG_MEL) / (2.0 * _STD_LOG_MEL)


def _frame(signal: jax.Array) -> jax.Array:
    """float32[..., S] -> float32[..., T, WINDOW_LENGTH], by shifted concatenation instead of a gather."""
    count = num_frames(signal.shape[-1])
    if count == 0:
        raise ValueError(f"a signal of {signal.shape[-1]} samples is shorter than a window, {WINDOW_LENGTH}")
    pieces = -(-WINDOW_LENGTH // HOP_LENGTH)
    total = (count + pieces - 1) * HOP_LENGTH
    missing = max(0, total - signal.shape[-1])
    signal = jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, missing)])[..., :total]
    hops = rearrange(signal, "... (t h) -> ... t h", h=HOP_LENGTH)
    shifted = [hops[..., i : i + count, :] for i in range(pieces)]
    return jnp.concatenate(shifted, axis=-1)[..., :WINDOW_LENGTH]


@functools.lru_cache
def povey_window() -> np.ndarray:
    """float32[WINDOW_LENGTH], a symmetric Hann window to the power 0.85: Kaldi's default."""
    phase = 2.0 * np.pi * np.arange(WINDOW_LENGTH) / (WINDOW_LENGTH - 1)
    return ((0.5 - 0.5 * np.cos(phase)) ** 0.85).astype(np.float32)


@functools.lru_cache
def mel_filterbank(num_mels: int) -> np.ndarray:
    """Triangular filters on the mel scale 1127 ln(1 + f / 700), each of height 1.

    Returns:
        float32[256, num_mels], over the bins below 8 kHz.
    """
    edges = np.linspace(_mel(_LOWEST_HZ), _mel(SAMPLE_RATE_HZ / 2), num_mels + 2)
    bins = _mel(np.arange(_N_FFT // 2) * SAMPLE_RATE_HZ / _N_FFT)
    rising = (bins[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def _mel(hz: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hz) / 700.0)
