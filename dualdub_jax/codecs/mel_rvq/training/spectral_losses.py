"""Distances of waveforms in the spectral domain: what a vocoder is trained on.

Source: the multi-resolution STFT loss of Yamamoto et al. (2020), spectral convergence and log-magnitude
distance at several window lengths, made a proper score of random waveforms as by Gritsenko et al. (2020);
code ours.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dualdub_jax.dsp.mel import log_mel
from dualdub_jax.dsp.stft import stft

# (n_fft, hop_length), samples: from single pitch periods to single harmonics.
RESOLUTIONS: tuple[tuple[int, int], ...] = ((128, 32), (512, 128), (2048, 512))

_MAGNITUDE_FLOOR = 1e-3  # of an unscaled STFT: far below hearing, keeps the logarithm's gradient finite


def stft_magnitude(waveform: jax.Array, n_fft: int, hop_length: int) -> jax.Array:
    """float32[..., S] -> float32[..., S // hop_length, bins]; its gradient is finite at silence."""
    spectra = stft(waveform, n_fft, hop_length)
    return jnp.sqrt(spectra.real**2 + spectra.imag**2 + _MAGNITUDE_FLOOR**2)


def energy_score(
    distance: Callable[[jax.Array, jax.Array], jax.Array],
    samples: tuple[jax.Array, jax.Array],
    target: jax.Array,
    spread: float = 1.0,
) -> jax.Array:
    """How well two independent samples of a generator stand for the distribution that `target` is one of.

    The mean distance to the target alone is smallest for a waveform in the middle of all likely ones, so that
    noise comes out as hum. Half the distance between the samples, taken off, makes the score smallest, on
    average, for samples that differ from each other as much as from the target. It makes noise also of what
    the generator merely does not know, which voices suffer from: `spread` below 1 takes less off.

    Args:
        distance: of two waveforms float32[B, S]; a metric of negative type, such as an L1 or L2 norm.
        samples: two waveforms that differ in their source of chance alone.
        target: float32[B, S].
        spread: 1 for the proper score, 0 for the mean distance alone.
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
    """Mean over resolutions of two distances.

    Args:
        prediction: float32[B, S].
        target: float32[B, S].
        resolutions: pairs of window length and hop, samples.
        scale_of: float32[B, S], whose magnitudes the first distance is relative to; None: `target`.

    Returns:
        Spectral convergence, the norm of the magnitudes' difference over the norm of the magnitudes of
        `scale_of`, mean over examples; and the mean absolute difference of log magnitudes, in nats.
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
    """Mean absolute difference of log-mels, in nats, mean over resolutions (after Kumar et al., 2023).

    Args:
        prediction: float32[B, S].
        target: float32[B, S].
        sample_rate_hz: of both.
        resolutions: window length and hop in samples, and the number of bands.
    """
    distances = []
    for n_fft, hop_length, n_mels in resolutions:
        a, b = (log_mel(x, sample_rate_hz, n_fft, hop_length, n_mels) for x in (prediction, target))
        distances.append(jnp.mean(jnp.abs(a - b)))
    return sum(distances) / len(distances)
