"""What is told of a room: how long it rings and how loud its noise is, and both as mixtures of bins."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# The ends of both quantities' bins; what lies beyond is cut.
ROOM_RANGES = {"rt60_s": (0.05, 3.2), "noise_dbfs": (-80.0, -20.0)}


class Room(NamedTuple):
    """The acoustics of a place, as both streams share them.

    Attributes:
        rt60_s: time in which reverberation falls by 60 dB, seconds.
        noise_dbfs: root mean square of the background's steady noise.
    """

    rt60_s: float
    noise_dbfs: float


def _ends() -> tuple[np.ndarray, np.ndarray]:
    """Of the bins, lowest and highest: (log2 of seconds, dBFS), float32[2] each."""
    (shortest, longest), (softest, loudest) = ROOM_RANGES.values()
    return np.float32([np.log2(shortest), softest]), np.float32([np.log2(longest), loudest])


def bin_weights(room: jax.Array, num_bins: int) -> jax.Array:
    """Each quantity as a mixture of its two nearest bins, float32[..., 2] -> float32[..., 2, V].

    Args:
        room: (RT60 in seconds, noise in dBFS); anything, if only finite weights are asked for.
        num_bins: V, at least 2.
    """
    lowest, highest = _ends()
    log_rt60 = jnp.log2(jnp.maximum(room[..., 0], 1e-3))
    place = (jnp.stack([log_rt60, room[..., 1]], axis=-1) - lowest) / (highest - lowest)
    place = jnp.clip(place, 0.0, 1.0) * (num_bins - 1)
    return jnp.maximum(1.0 - jnp.abs(place[..., None] - jnp.arange(num_bins)), 0.0)


def bin_values(bins: jax.Array, num_bins: int) -> jax.Array:
    """int32[..., 2] -> float32[..., 2], the middles of bins: seconds and dBFS."""
    lowest, highest = _ends()
    values = lowest + (highest - lowest) * bins / (num_bins - 1)
    return jnp.stack([jnp.exp2(values[..., 0]), values[..., 1]], axis=-1)
