"""Latents of one window: from embedded tokens along the flow.

Latents are standardised per channel by the mean and standard deviation of the first training batches. Source:
our choice; the paper states no normalisation.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dualdub_jax.decoders.flow_matching.config import FlowMatchingConfig
from dualdub_jax.decoders.flow_matching.flow import euler_times, integrate
from dualdub_jax.decoders.flow_matching.network import FlowNetwork

PyTree = Any  # {"mean", "std": float32[D]}, or variables of `FlowNetwork`

_LEAST_STD = 1e-3  # of a channel that never changes


def standardised(latents: jax.Array, statistics: PyTree) -> jax.Array:
    """Latents float32[..., D] of zero mean and unit variance in each channel."""
    return (latents - statistics["mean"]) / jnp.maximum(statistics["std"], _LEAST_STD)


def restored(latents: jax.Array, statistics: PyTree) -> jax.Array:
    """The inverse of `standardised`."""
    return latents * jnp.maximum(statistics["std"], _LEAST_STD) + statistics["mean"]


def token_mean(embedded: jax.Array, index: jax.Array, weights: jax.Array) -> jax.Array:
    """Embeddings at the rate of latents.

    Args:
        embedded: float32[B, T, D], of tokens.
        index: int32[L, n], tokens of each latent.
        weights: float32[B, L, n]; renormalised.

    Returns:
        float32[B, L, D].
    """
    weights = weights / jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), 1e-6)
    return jnp.sum(embedded[:, index] * weights[..., None], axis=2)


def sample(
    decoder: FlowMatchingConfig,
    network: FlowNetwork,
    params: PyTree,
    embedded: jax.Array,
    mask: jax.Array,
    position: jax.Array,
    speaker: jax.Array | None,
) -> jax.Array:
    """Integrates the flow of one window.

    Args:
        decoder: keys of the waveform decoder.
        network: of the flow.
        params: its variables.
        embedded: float32[B, L, D], tokens at the rate of latents.
        mask: bool[B, L], True for latents inside of the track.
        position: int32[L], absolute indices, which seed the noise of each latent.
        speaker: float32[B, D_speaker] or None.

    Returns:
        Standardised latents float32[B, L, D].
    """
    start = embedded
    if decoder.source == "noise":
        key = jax.random.key(decoder.noise_seed)
        draw = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), embedded.shape[-1:]))
        start = jnp.broadcast_to(draw(position), embedded.shape)

    def velocity(x: jax.Array, t: jax.Array) -> jax.Array:
        found = network.apply(params, x, t, mask, embedded, speaker, method="velocity")
        if decoder.guidance_scale == 1.0:
            return found
        blind = network.apply(params, x, t, mask, jnp.zeros_like(embedded), speaker, method="velocity")
        return blind + decoder.guidance_scale * (found - blind)

    return integrate(velocity, start, euler_times(decoder.num_euler_steps, decoder.sway))
