"""Room acoustics (reverberation time, noise floor) and their encoding as mixtures of bins."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# The ends of both quantities' bins; what lies beyond is cut.
ACOUSTICS_RANGES = {"rt60_s": (0.05, 3.2), "noise_dbfs": (-80.0, -20.0)}


class Acoustics(NamedTuple):
    """Room acoustics, shared by both streams; None where a quantity is unknown.

    Attributes:
        rt60_s: reverberation time, in which sound decays by 60 dB, seconds.
        noise_dbfs: level (root mean square) of the background's stationary noise, dB full scale.
    """

    rt60_s: float | None
    noise_dbfs: float | None


def _ends() -> tuple[np.ndarray, np.ndarray]:
    """Of the bins, lowest and highest: (log2 of seconds, dBFS), float32[2] each."""
    (shortest, longest), (softest, loudest) = ACOUSTICS_RANGES.values()
    return np.float32([np.log2(shortest), softest]), np.float32([np.log2(longest), loudest])


def bin_weights(acoustics: jax.Array, num_bins: int) -> jax.Array:
    """Each quantity as a mixture of its two nearest bins, float32[..., 2] -> float32[..., 2, V].

    Args:
        acoustics: (RT60 in seconds, noise in dBFS); anything, if only finite weights are asked for.
        num_bins: V, at least 2.
    """
    lowest, highest = _ends()
    log_rt60 = jnp.log2(jnp.maximum(acoustics[..., 0], 1e-3))
    place = (jnp.stack([log_rt60, acoustics[..., 1]], axis=-1) - lowest) / (highest - lowest)
    place = jnp.clip(place, 0.0, 1.0) * (num_bins - 1)
    return jnp.maximum(1.0 - jnp.abs(place[..., None] - jnp.arange(num_bins)), 0.0)


def bin_values(bins: jax.Array, num_bins: int) -> jax.Array:
    """int32[..., 2] -> float32[..., 2], the middles of bins: seconds and dBFS."""
    lowest, highest = _ends()
    values = lowest + (highest - lowest) * bins / (num_bins - 1)
    return jnp.stack([jnp.exp2(values[..., 0]), values[..., 1]], axis=-1)
