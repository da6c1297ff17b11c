"""Log-mel spectrograms, the front end of the mel codecs and of the speaker encoder.

Magnitudes are scaled such that a full-scale sine has magnitude about 1. Mel bands are weighted means of bins,
and the logarithm is floored: digital silence maps to `log(floor)`, well below audible levels.

Source: our choice; the mel scale is HTK's, whose low bands (22 Hz) resolve the harmonics of a voice.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dualdub_jax.dsp.stft import hann_window, stft
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

LOG_FLOOR = 1e-5  # amplitude; about the band level of white noise at -76 dB full scale

# Statistics of typical log-mels, which standardise the inputs of networks.
MEAN_LOG_MEL, STD_LOG_MEL = -7.0, 3.0


def _hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    return 2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


@functools.lru_cache
def mel_band_edges_hz(
    n_mels: int, sample_rate_hz: int, min_hz: float = 0.0, max_hz: float | None = None
) -> np.ndarray:
    """Band edges, float64[n_mels + 2], Hz: band m spans edges m to m + 2, with its centre at edge m + 1."""
    top = sample_rate_hz / 2 if max_hz is None else max_hz
    return _mel_to_hz(np.linspace(_hz_to_mel(min_hz), _hz_to_mel(top), n_mels + 2))


@functools.lru_cache
def mel_filterbank(
    n_mels: int, n_fft: int, sample_rate_hz: int, min_hz: float = 0.0, max_hz: float | None = None
) -> np.ndarray:
    """Triangular mel filters, each summing to 1 over the bins.

    Returns:
        float32[n_fft // 2 + 1, n_mels].

    Raises:
        ValueError: a band contains no bin, because there are too many bands for the resolution.
    """
    edges = mel_band_edges_hz(n_mels, sample_rate_hz, min_hz, max_hz)
    bins_hz = np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft
    rising = (bins_hz[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - bins_hz[:, None]) / (edges[2:] - edges[1:-1])
    bands = np.maximum(0.0, np.minimum(rising, falling))
    weight = bands.sum(axis=0)
    if np.any(weight == 0.0):
        raise ValueError(
            f"{n_mels} mel bands are too many for n_fft {n_fft} at {sample_rate_hz} Hz: "
            f"band {int(np.argmin(weight))} holds no bin"
        )
    return (bands / weight).astype(np.float32)


@checked
def log_mel(
    waveform: Float[Array, "*batch S"],
    sample_rate_hz: int,
    n_fft: int,
    hop_length: int,
    n_mels: int,
    min_hz: float = 0.0,
    max_hz: float | None = None,
    floor: float = LOG_FLOOR,
) -> Float[Array, "*batch T {n_mels}"]:
    """Natural logarithm of mel band amplitudes.

    Args:
        waveform: float32[..., S], in [-1, 1].
        sample_rate_hz: of `waveform`.
        n_fft: length of the Hann window, samples.
        hop_length: distance of frames, samples; frame i is centred on hop i.
        n_mels: number of bands between `min_hz` and `max_hz` (None: half the sample rate).
        floor: minimum amplitude.

    Returns:
        float32[..., S // hop_length, n_mels], between `log(floor)` and about 0.
    """
    magnitude = jnp.abs(stft(waveform, n_fft, hop_length)) * (2.0 / float(hann_window(n_fft).sum()))
    bands = magnitude @ mel_filterbank(n_mels, n_fft, sample_rate_hz, min_hz, max_hz)
    return jnp.log(jnp.maximum(bands, floor))


def unit_noise_band_amplitude(n_fft: int) -> float:
    """Expected band amplitude of white noise of unit variance in `log_mel` (a Rayleigh mean)."""
    window = hann_window(n_fft)
    return float(np.sqrt(np.pi) / 2.0 * np.sqrt(np.sum(window**2)) * 2.0 / np.sum(window))
