"""Soft quantisation of room acoustics into bins."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from dualdub_jax.dsp.acoustics import ACOUSTICS_RANGES
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


def _ends() -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest bin centres, (log2 of seconds, dBFS), float32[2] each."""
    (shortest, longest), (softest, loudest) = ACOUSTICS_RANGES.values()
    return np.float32([np.log2(shortest), softest]), np.float32([np.log2(longest), loudest])


@checked
def bin_weights(acoustics: Float[Array, "*batch 2"], num_bins: int) -> Float[Array, "*batch 2 {num_bins}"]:
    """Linear interpolation weights of each quantity between its two nearest bins.

    Args:
        acoustics: float32[..., 2], (RT60 in seconds, noise in dBFS); clipped to `ACOUSTICS_RANGES`.
        num_bins: V, at least 2.

    Returns:
        float32[..., 2, V], summing to 1 over V.
    """
    lowest, highest = _ends()
    log_rt60 = jnp.log2(jnp.maximum(acoustics[..., 0], 1e-3))
    place = (jnp.stack([log_rt60, acoustics[..., 1]], axis=-1) - lowest) / (highest - lowest)
    place = jnp.clip(place, 0.0, 1.0) * (num_bins - 1)
    return jnp.maximum(1.0 - jnp.abs(place[..., None] - jnp.arange(num_bins)), 0.0)


@checked
def bin_values(bins: Int[Array, "*batch 2"], num_bins: int) -> Float[Array, "*batch 2"]:
    """Bin centres: int32[..., 2] -> float32[..., 2], seconds and dBFS."""
    lowest, highest = _ends()
    values = lowest + (highest - lowest) * bins / (num_bins - 1)
    return jnp.stack([jnp.exp2(values[..., 0]), values[..., 1]], axis=-1)
