"""Sampling one code from logits: temperature, top-k, top-p, all as traced numbers."""

import flax.struct
import jax
import jax.numpy as jnp

from dualdub_jax.config import SamplingConfig
from dualdub_jax.types import STREAMS


@flax.struct.dataclass
class StreamSampling:
    """How one stream is sampled; arrays, so that new values need no new compilation.

    Attributes:
        temperature: float32[]; 0 takes the most likely code.
        top_k: int32[]; 0: all codes.
        top_p: float32[]; 1: all codes.
    """

    temperature: jax.Array
    top_k: jax.Array
    top_p: jax.Array


def stream_sampling(config: SamplingConfig) -> dict[str, StreamSampling]:
    """The settings of both streams."""
    return {
        stream: StreamSampling(
            temperature=jnp.float32(getattr(config, f"{stream}_temperature")),
            top_k=jnp.int32(getattr(config, f"{stream}_top_k")),
            top_p=jnp.float32(getattr(config, f"{stream}_top_p")),
        )
        for stream in STREAMS
    }


def sample(rng: jax.Array, logits: jax.Array, how: StreamSampling) -> jax.Array:
    """Draws codes.

    Args:
        rng: key.
        logits: float32[B, V].
        how: temperature and cuts; the code of the highest logit always stays in.

    Returns:
        int32[B].
    """
    scaled = logits / jnp.maximum(how.temperature, 1e-4)
    descending = -jnp.sort(-scaled, axis=-1)
    k = jnp.where(how.top_k > 0, how.top_k, logits.shape[-1])
    kth = jnp.take(descending, jnp.minimum(k, logits.shape[-1]) - 1, axis=-1)[:, None]
    probabilities = jax.nn.softmax(descending, axis=-1)
    # A code stays while the codes above it hold less than top_p.
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    last = jnp.maximum((before < how.top_p).sum(-1), 1) - 1
    pth = jnp.take_along_axis(descending, last[:, None], axis=-1)
    kept = jnp.where(scaled >= jnp.maximum(kth, pth), scaled, -jnp.inf)
    drawn = jax.random.categorical(rng, kept, axis=-1)
    return jnp.where(how.temperature > 0, drawn, jnp.argmax(logits, axis=-1)).astype(jnp.int32)
