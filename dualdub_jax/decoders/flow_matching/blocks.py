"""Decoding in blocks: a track of any length is a function of windows of bounded length.

    | context |        block k        | context |
              '-- latents that count --'
                                 | context |       block k + 1      | context |
                              '- cross-fade -'

A block's latents depend on nothing outside of its window, so that chunks of a stream give what one call
gives, and each row of a padded batch what it gives alone. Source: our choice.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.decoders.flow_matching.resampling import token_weights


class Layout(NamedTuple):
    """Rates and lengths of one decoder.

    Attributes:
        sample_rate_hz: of the waveform.
        samples_per_latent: of the frozen decoder.
        token_rate: tokens per second at the codec's own rate.
        block: latents per block.
        context: latents on both sides of a block, even.
        resampling: see resampling.py.
    """

    sample_rate_hz: int
    samples_per_latent: int
    token_rate: Fraction
    block: int
    context: int
    resampling: str

    @property
    def window(self) -> int:
        """Latents of a block and its contexts."""
        return self.block + 2 * self.context

    @property
    def tokens_per_latent(self) -> Fraction:
        """Tokens that sound during one latent."""
        return self.token_rate * self.samples_per_latent / self.sample_rate_hz

    def num_samples(self, num_tokens: int) -> int:
        """Samples that tokens cover, the last one completed."""
        return math.ceil(num_tokens * self.sample_rate_hz / self.token_rate)

    def num_latents(self, num_tokens: int) -> int:
        """Latents that tokens reach, the last one completed."""
        return -(-self.num_samples(num_tokens) // self.samples_per_latent)

    def num_known_latents(self, num_tokens: int) -> int:
        """Latents of a track that goes on, which only read the first `num_tokens` tokens."""
        # A mean or an interpolation reads at most two tokens beyond the one that its latent begins in.
        return max(math.floor((num_tokens - 2) / self.tokens_per_latent) - 1, 0)


@flax.struct.dataclass
class Plan:
    """What the networks need to know about consecutive blocks; K blocks of windows of W latents.

    Attributes:
        tokens: int32[K, W, n], tokens of a latent, as indices into the tokens at hand.
        weights: float32[B, K, W, n], zero for tokens outside of a row's track.
        is_valid: bool[B, K, W], latents inside of the track.
        position: int32[K, W], absolute index of each latent.
        blend: float32[B, K, 3, block], weights of the windows before, of and after a block.
    """

    tokens: jax.Array
    weights: jax.Array
    is_valid: jax.Array
    position: jax.Array
    blend: jax.Array


def plan_blocks(
    layout: Layout,
    first_block: int,
    num_blocks: int,
    first_token: int,
    num_tokens: int,
    lengths: np.ndarray,
) -> Plan:
    """Plans blocks of tracks.

    Args:
        layout: of the decoder.
        first_block: absolute index.
        num_blocks: K.
        first_token: absolute index of the first token at hand.
        num_tokens: tokens at hand.
        lengths: int64[B], tokens of each row's track.
    """
    block, context = layout.block, layout.context
    starts = (first_block + np.arange(num_blocks)) * block
    position = starts[:, None] - context + np.arange(layout.window)
    index, weights = token_weights(position, layout.tokens_per_latent, layout.resampling)
    is_token = (index >= 0) & (index < lengths[:, None, None, None])
    num_latents = np.array([layout.num_latents(int(n)) for n in lengths], np.int64)
    is_valid = (position >= 0) & (position < num_latents[:, None, None])
    return Plan(
        tokens=np.clip(index - first_token, 0, num_tokens - 1).astype(np.int32),
        weights=np.where(is_token, weights, 0.0).astype(np.float32),
        is_valid=is_valid,
        position=position.astype(np.int32),
        blend=_blend_weights(layout, starts, num_latents),
    )


def _blend_weights(layout: Layout, starts: np.ndarray, num_latents: np.ndarray) -> np.ndarray:
    """float32[B, K, 3, block]; no cross-fade where a block has no neighbour in the plan or the track."""
    half = layout.context // 2
    shape = (len(num_latents), len(starts), layout.block)
    before, after = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    if half:
        rise = (np.arange(half) + 0.5) / (2 * half)  # from the border outwards: half to none
        before[..., :half] = rise[::-1]
        after[..., -half:] = rise
        has_next = starts[1:] < num_latents[:, None]
        before[:, 1:] *= has_next[..., None]
        after[:, :-1] *= has_next[..., None]
        before[:, 0] = after[:, -1] = 0.0
    return np.stack([before, 1.0 - before - after, after], axis=2)


def blend(windows: jax.Array, weights: jax.Array, layout: Layout) -> jax.Array:
    """Joins windows.

    Args:
        windows: float[B, K, W, D].
        weights: float32[B, K, 3, block].
        layout: of the decoder.

    Returns:
        float[B, K * block, D].
    """
    block, context = layout.block, layout.context
    own = windows[:, :, context : context + block]
    before, after = jnp.zeros_like(own), jnp.zeros_like(own)
    half = context // 2
    if half and windows.shape[1] > 1:
        # A window reaches `context` beyond its block, twice as far as it is cross-faded.
        ends = windows[:, :-1, context + block : context + block + half]
        before = before.at[:, 1:, :half].set(ends)
        after = after.at[:, :-1, block - half :].set(windows[:, 1:, context - half : context])
    stacked = jnp.stack([before, own, after], axis=2)
    joined = jnp.sum(stacked * weights[..., None], axis=2)
    return joined.reshape(joined.shape[0], -1, joined.shape[-1])
