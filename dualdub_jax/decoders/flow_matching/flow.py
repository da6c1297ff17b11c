"""The flow: its path, its loss, and Euler steps along it.

Source: the paper; x_t = (1 - t) x_0 + t x_1, velocity x_1 - x_0, squared error. x_0 is the embedding of the
tokens, without noise, or noise (Lipman et al., 2023). Times of the steps after F5-TTS (Chen et al., 2024).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

Velocity = Callable[
    [jax.Array, jax.Array], jax.Array
]  # (x float32[B, L, D], t float32[B]) -> float32[B, L, D]


def flow_error(velocity: Velocity, start: jax.Array, end: jax.Array, t: jax.Array) -> jax.Array:
    """Mean squared error of the velocity at time t, of each example.

    Args:
        velocity: of the network.
        start: float32[B, L, D], x_0.
        end: float32[B, L, D], x_1.
        t: float32[B] in [0, 1].

    Returns:
        float32[B].
    """
    at = t[:, None, None]
    predicted = velocity((1.0 - at) * start + at * end, t)
    return jnp.mean(jnp.square(predicted - (end - start)), axis=(1, 2))


def euler_times(num_steps: int, sway: float) -> np.ndarray:
    """float32[num_steps + 1], from 0 to 1; see `FlowMatchingConfig.sway`."""
    t = np.linspace(0.0, 1.0, num_steps + 1)
    return (t + sway * (np.cos(np.pi / 2 * t) - 1.0 + t)).astype(np.float32)


def integrate(velocity: Velocity, start: jax.Array, times: np.ndarray) -> jax.Array:
    """Euler steps from `start`, float32[B, L, D], along float32[steps + 1] times."""

    def step(x: jax.Array, span: jax.Array) -> tuple[jax.Array, None]:
        t, after = span
        return x + (after - t) * velocity(x, jnp.full(x.shape[:1], t)), None

    return jax.lax.scan(step, start, jnp.stack([times[:-1], times[1:]], axis=1))[0]
