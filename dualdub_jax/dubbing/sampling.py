"""Samples codes from logits with temperature, top-k and top-p, as traced values."""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from dualdub_jax.config import SamplingConfig
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import STREAMS, Array


@flax.struct.dataclass
class StreamSampling:
    """Sampling settings of one stream; arrays, so that new values do not recompile.

    Attributes:
        temperature: float32[]; 0: greedy.
        top_k: int32[]; 0: no truncation.
        top_p: float32[] in (0, 1]; 1: no truncation.
    """

    temperature: jax.Array
    top_k: jax.Array
    top_p: jax.Array


def stream_sampling(config: SamplingConfig) -> dict[str, StreamSampling]:
    """The sampling settings of both streams."""
    return {
        stream: StreamSampling(
            temperature=jnp.float32(getattr(config, f"{stream}_temperature")),
            top_k=jnp.int32(getattr(config, f"{stream}_top_k")),
            top_p=jnp.float32(getattr(config, f"{stream}_top_p")),
        )
        for stream in STREAMS
    }


def draw_noise(keys: jax.Array, num_examples: int, codebook_size: int) -> Float[Array, "Q B V"]:
    """Gumbel noise of several codebooks, float32[Q, B, V]; `keys` has one of each.

    One call for a frame, because calls are many and small.
    """
    return jax.vmap(lambda key: jax.random.gumbel(key, (num_examples, codebook_size)))(keys)


@checked
def sample(
    noise: Float[Array, "B V"], logits: Float[Array, "B V"], settings: StreamSampling
) -> Int[Array, " B"]:
    """Samples codes by the Gumbel-max trick.

    Args:
        noise: float32[B, V], standard Gumbel noise.
        logits: float32[B, V].
        settings: temperature and truncation; the most likely code is never truncated.

    Returns:
        int32[B] in [0, V).
    """
    is_greedy = settings.temperature <= 0
    scaled = logits / jnp.where(is_greedy, 1.0, jnp.maximum(settings.temperature, 1e-4))
    # Sorting costs more than all else here, and by default nothing is truncated.
    is_truncated = (settings.top_k > 0) | (settings.top_p < 1)
    kept = jax.lax.cond(is_truncated, _truncated, lambda scaled, _: scaled, scaled, settings)
    return jnp.argmax(kept + jnp.where(is_greedy, 0.0, noise), axis=-1).astype(jnp.int32)


def _truncated(scaled: jax.Array, settings: StreamSampling) -> jax.Array:
    """Scaled logits float32[B, V] with -inf for the codes that top-k and top-p leave out."""
    descending = -jnp.sort(-scaled, axis=-1)
    k = jnp.where(settings.top_k > 0, settings.top_k, scaled.shape[-1])
    kth = jnp.take(descending, jnp.minimum(k, scaled.shape[-1]) - 1, axis=-1)[:, None]
    probabilities = jax.nn.softmax(descending, axis=-1)
    # A code is kept if the total probability of more likely codes is below top_p.
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    last = jnp.maximum((before < settings.top_p).sum(-1), 1) - 1
    pth = jnp.take_along_axis(descending, last[:, None], axis=-1)
    return jnp.where(scaled >= jnp.maximum(kth, pth), scaled, -jnp.inf)
