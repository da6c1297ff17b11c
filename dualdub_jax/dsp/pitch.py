"""Pitch estimation by autocorrelation, the training target of the vocoder's pitch predictor.

It is used in training only; at inference the decoder predicts pitch from the tokens.

Source: the normalised autocorrelation of Boersma (1993) without its path search; the predictor averages out
octave errors.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.dsp.stft import frame, hann_window

MIN_PITCH_HZ = 60.0
MAX_PITCH_HZ = 500.0

_VOICED_CORRELATION = 0.5
_OCTAVE_COST = 0.02  # correlation margin required of a pitch one octave lower
_LOW_PASS_HZ = 1200.0
_SILENCE = 1e-3  # frames with a root mean square below are unvoiced


@flax.struct.dataclass
class Pitch:
    """Attributes:
    log_hz: float32[..., T], natural logarithm of the fundamental frequency in Hz; undefined if unvoiced.
    is_voiced: bool[..., T].
    """

    log_hz: jax.Array
    is_voiced: jax.Array


def estimate_pitch(waveform: jax.Array, sample_rate_hz: int, hop_length: int, n_fft: int = 1024) -> Pitch:
    """Estimates pitch and voicing of every hop.

    Args:
        waveform: float32[..., S].
        sample_rate_hz: of `waveform`.
        hop_length: distance of frames, samples.
        n_fft: length of a frame, samples; at least three periods of `MIN_PITCH_HZ`.

    Returns:
        `Pitch` with T = S // hop_length.
    """
    window = hann_window(n_fft)
    frames = frame(waveform, n_fft, hop_length)
    frames = (frames - jnp.mean(frames, axis=-1, keepdims=True)) * window
    correlation = _autocorrelation(frames, sample_rate_hz)
    energy = correlation[..., :1]
    # Division by the window's autocorrelation removes the bias against long periods.
    window_correlation = np.correlate(window, window, "full")[n_fft - 1 :]
    window_correlation = window_correlation / window_correlation[0]
    shortest, longest = int(sample_rate_hz / MAX_PITCH_HZ), int(sample_rate_hz / MIN_PITCH_HZ)
    lags = np.arange(shortest, longest + 1)
    normalised = correlation[..., : longest + 2] / jnp.maximum(energy, 1e-10)
    normalised = normalised / window_correlation[: longest + 2]
    candidates = normalised[..., shortest : longest + 1]
    is_peak = (candidates >= normalised[..., shortest - 1 : longest]) & (
        candidates >= normalised[..., shortest + 1 : longest + 2]
    )
    score = jnp.where(is_peak, candidates - _OCTAVE_COST * np.log2(lags / shortest), -1.0)
    best = jnp.argmax(score, axis=-1)[..., None]
    left, middle, right = (
        jnp.take_along_axis(normalised, best + shortest + offset, axis=-1)[..., 0] for offset in (-1, 0, 1)
    )
    # The vertex of the parabola through the three samples around the peak.
    curvature = left - 2.0 * middle + right
    shift = jnp.where(curvature < -1e-6, 0.5 * (left - right) / jnp.minimum(curvature, -1e-6), 0.0)
    lag = best[..., 0] + shortest + jnp.clip(shift, -0.5, 0.5)
    is_loud = energy[..., 0] > _SILENCE**2 * float(np.sum(window**2))
    has_peak = jnp.max(score, axis=-1) > 0.0
    return Pitch(
        log_hz=jnp.log(sample_rate_hz / lag),
        is_voiced=(middle > _VOICED_CORRELATION) & is_loud & has_peak,
    )


def _autocorrelation(frames: jax.Array, sample_rate_hz: int) -> jax.Array:
    """Autocorrelation of low-passed frames; with all harmonics, peaks would be narrower than a sample."""
    n_fft = frames.shape[-1]
    bins_hz = np.arange(n_fft + 1) * sample_rate_hz / (2 * n_fft)
    low_pass = (1.0 / (1.0 + (bins_hz / _LOW_PASS_HZ) ** 4)).astype(np.float32)
    spectrum = jnp.fft.rfft(frames, n=2 * n_fft)
    return jnp.fft.irfft(low_pass * jnp.abs(spectrum) ** 2, n=2 * n_fft)[..., :n_fft]
