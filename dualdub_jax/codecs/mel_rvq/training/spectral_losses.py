"""Spectral distances of waveforms, the training losses of the vocoder.

Source: the multi-resolution STFT loss of Yamamoto et al. (2020), spectral convergence and log-magnitude
distance at several window lengths; the energy score, which makes it a proper scoring rule, after Gritsenko et
al. (2020).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dualdub_jax.dsp.mel import log_mel
from dualdub_jax.dsp.stft import stft

# (n_fft, hop_length), samples: from single pitch periods to single harmonics.
RESOLUTIONS: tuple[tuple[int, int], ...] = ((128, 32), (512, 128), (2048, 512))

_MAGNITUDE_FLOOR = 1e-3  # of an unscaled STFT: inaudible, keeps the logarithm's gradient finite


def stft_magnitude(waveform: jax.Array, n_fft: int, hop_length: int) -> jax.Array:
    """STFT magnitude, float32[..., S] -> float32[..., S // hop_length, bins]; finite gradients at silence."""
    spectra = stft(waveform, n_fft, hop_length)
    return jnp.sqrt(spectra.real**2 + spectra.imag**2 + _MAGNITUDE_FLOOR**2)


def energy_score(
    distance: Callable[[jax.Array, jax.Array], jax.Array],
    samples: tuple[jax.Array, jax.Array],
    target: jax.Array,
    spread: float = 1.0,
) -> jax.Array:
    """Energy score of two independent samples of a generator against one sample of the data.

    The mean distance to the target alone is minimised by a deterministic waveform, which renders noise as a
    hum. Subtracting half of the distance between the samples makes the score proper: in expectation, it is
    minimal for samples distributed as the data. A generator with limited information then also renders its
    uncertainty as noise, which degrades speech; `spread` below 1 trades the two off.

    Args:
        distance: of two waveforms float32[B, S]; a metric of negative type, such as an L1 or L2 norm.
        samples: two waveforms float32[B, S] that differ in their random numbers only.
        target: float32[B, S].
        spread: 1 for the proper score, 0 for the mean distance alone.

    Returns:
        The score, of the shape that `distance` returns.
    """
    first, second = samples
    to_target = distance(first, target) + distance(second, target)
    return 0.5 * (to_target - spread * distance(first, second))


def multi_resolution_stft_distance(
    prediction: jax.Array,
    target: jax.Array,
    resolutions: tuple[tuple[int, int], ...] = RESOLUTIONS,
    scale_of: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Spectral convergence and log-magnitude distance, averaged over resolutions.

    Args:
        prediction: float32[B, S].
        target: float32[B, S].
        resolutions: (n_fft, hop_length) pairs, samples.
        scale_of: float32[B, S], whose magnitudes normalise spectral convergence; None: `target`.

    Returns:
        Spectral convergence float32[], the norm of the difference of magnitudes over the norm of the
        magnitudes of `scale_of`, mean over examples; and the mean absolute difference of log magnitudes
        float32[], nats.
    """
    convergence, log_distance = [], []
    for n_fft, hop_length in resolutions:
        a = stft_magnitude(prediction, n_fft, hop_length)
        b = stft_magnitude(target, n_fft, hop_length)
        scale = b if scale_of is None else stft_magnitude(scale_of, n_fft, hop_length)
        norm = jnp.sqrt(jnp.sum(scale**2, axis=(-2, -1)))
        difference = jnp.sqrt(jnp.sum((a - b) ** 2, axis=(-2, -1)) + 1e-12)
        convergence.append(jnp.mean(difference / norm))
        log_distance.append(jnp.mean(jnp.abs(jnp.log(a) - jnp.log(b))))
    return sum(convergence) / len(convergence), sum(log_distance) / len(log_distance)


def multi_resolution_mel_distance(
    prediction: jax.Array,
    target: jax.Array,
    sample_rate_hz: int,
    resolutions: tuple[tuple[int, int, int], ...],
) -> jax.Array:
    """Mean absolute difference of log-mels, nats, averaged over resolutions (after Kumar et al., 2023).

    Args:
        prediction: float32[B, S].
        target: float32[B, S].
        sample_rate_hz: of both.
        resolutions: (n_fft, hop_length, n_mels), the first two in samples.
    """
    distances = []
    for n_fft, hop_length, n_mels in resolutions:
        a, b = (log_mel(x, sample_rate_hz, n_fft, hop_length, n_mels) for x in (prediction, target))
        distances.append(jnp.mean(jnp.abs(a - b)))
    return sum(distances) / len(distances)
