"""The mel spectrogram of AudioSet's models, VGGish and YAMNet.

Source: Hershey et al. (2017) and the public front end of VGGish.
"""

import functools

import numpy as np

SAMPLE_RATE_HZ = 16_000
NUM_MELS = 64
WINDOW_LENGTH, HOP_LENGTH = 400, 160  # samples
_N_FFT = 512
_LOWEST_HZ, _HIGHEST_HZ = 125.0, 7500.0


def mel_magnitudes(waveform: np.ndarray) -> np.ndarray:
    """Mel-weighted magnitudes of Hann windows of 25 ms every 10 ms, without padding.

    Args:
        waveform: float[S] at 16 kHz.

    Returns:
        float64[T, 64], T = 1 + (S - 400) // 160; 0 rows for a shorter waveform.
    """
    if len(waveform) < WINDOW_LENGTH:
        return np.zeros((0, NUM_MELS))
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW_LENGTH)[::HOP_LENGTH]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_LENGTH) / WINDOW_LENGTH)
    return np.abs(np.fft.rfft(frames * window, _N_FFT, axis=1)) @ _filters()


@functools.cache
def _filters() -> np.ndarray:
    """float64[257, 64]: triangular HTK mel filters, linear in mel, of height 1."""

    def mel(hz: np.ndarray | float) -> np.ndarray:
        return 1127 * np.log1p(np.asarray(hz) / 700)

    edges = np.linspace(mel(_LOWEST_HZ), mel(_HIGHEST_HZ), NUM_MELS + 2)
    bins = mel(np.fft.rfftfreq(_N_FFT, 1 / SAMPLE_RATE_HZ))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    filters[0] = 0
    return filters
