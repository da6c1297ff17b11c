"""Griffin-Lim inversion of log-mels, a baseline for the vocoder; not used for generation.

Source: Griffin and Lim (1984) with the momentum of Perraudin et al. (2013).
"""

import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.dsp.mel import LOG_FLOOR, mel_filterbank
from dualdub_jax.dsp.stft import hann_window, istft, stft

_MOMENTUM = 0.99
_NUM_FIT_STEPS = 50


def griffin_lim(
    log_mel: jax.Array,
    sample_rate_hz: int,
    n_fft: int,
    hop_length: int,
    rng: jax.Array,
    num_iterations: int = 60,
    refinement: int = 4,
) -> jax.Array:
    """Estimates a waveform from log-mels.

    Args:
        log_mel: float32[B, M, n_mels], as computed by `mel.log_mel`.
        sample_rate_hz: of the waveform.
        n_fft: of the log-mels.
        hop_length: of the log-mels, samples.
        rng: key of the initial phases.
        num_iterations: of phase estimation.
        refinement: number of interpolated spectra per mel frame, since phase retrieval requires sufficient
            overlap of the windows.

    Returns:
        float32[B, M * hop_length].
    """
    magnitude = _mel_to_magnitude(log_mel, sample_rate_hz, n_fft)
    num_frames = log_mel.shape[1] * refinement
    magnitude = jax.image.resize(magnitude, (magnitude.shape[0], num_frames, magnitude.shape[2]), "linear")
    hop_length = hop_length // refinement
    angles = jnp.exp(2j * np.pi * jax.random.uniform(rng, magnitude.shape))

    def iterate(state: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
        angles, last = state
        rebuilt = stft(istft(magnitude * angles, n_fft, hop_length), n_fft, hop_length)
        ahead = rebuilt - _MOMENTUM / (1.0 + _MOMENTUM) * last
        return (ahead / jnp.maximum(jnp.abs(ahead), 1e-9), rebuilt), None

    (angles, _), _ = jax.lax.scan(iterate, (angles, jnp.zeros_like(angles)), None, length=num_iterations)
    return istft(magnitude * angles, n_fft, hop_length)


def _mel_to_magnitude(log_mel: jax.Array, sample_rate_hz: int, n_fft: int) -> jax.Array:
    """Non-negative magnitudes that match the given mel bands, by multiplicative updates."""
    bands = mel_filterbank(log_mel.shape[-1], n_fft, sample_rate_hz)  # [bins, n_mels]
    target = jnp.exp(log_mel) * float(hann_window(n_fft).sum()) / 2.0
    floor = LOG_FLOOR * 1e-3
    estimate = jnp.maximum(target @ bands.T, floor)

    def improve(estimate: jax.Array, _: None) -> tuple[jax.Array, None]:
        correction = (target @ bands.T) / jnp.maximum((estimate @ bands) @ bands.T, floor)
        return estimate * correction, None

    estimate, _ = jax.lax.scan(improve, estimate, None, length=_NUM_FIT_STEPS)
    # Bins outside all bands (the first and the last) remain near zero.
    return estimate
