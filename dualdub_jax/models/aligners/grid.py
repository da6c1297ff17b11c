"""The cross-modal aligner: where video meets audio, and where the two audio streams meet.

Two branches, each switchable by config:

- `NonCausalAligner`: every audio frame looks at all video frames, past and future, so that the model
  knows what is about to happen on screen. Serves synchronization.
- `MutualAligner`: the speech stream looks at the background's past and the background stream at the
  speech's past, never at the present frame, which is being generated. Serves acoustic harmony.

Source: the DualDub abstract names a cross-modal aligner with causal and non-causal attention for
synchronization and acoustic harmony; the form of both branches is our choice. To try another one without
touching this file, name it in the config by its import path: docs/forking.md.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dualdub_jax.config import AlignerConfig
from dualdub_jax.layers.attention import Attention, KVCache, RelativeTimeBias
from dualdub_jax.layers.basic import dense, learned, rms_norm


class NonCausalAligner(nn.Module):
    """Video frames to a video context for each audio frame, float[B, T, D] -> float[B, T, D].

    A direct path hands each audio frame its own video frame (they share the grid); attention with a
    relative time bias adds what happens around it. A learned null stands for an absent video.
    """

    config: AlignerConfig
    dtype: str = "float32"

    @nn.compact
    def __call__(self, video: jax.Array, frame_mask: jax.Array, has_video: jax.Array) -> jax.Array:
        """Aligns.

        Args:
            video: float[B, T, D], encoded video frames.
            frame_mask: bool[B, T], True inside the clip.
            has_video: bool[B], False where there is no video.

        Returns:
            float[B, T, D].
        """
        width = video.shape[-1]
        x = rms_norm("norm", self.dtype)(video)
        direct = dense(width, ("embed", "mlp"), name="direct", dtype=self.dtype)(x)
        null = learned(self, "null", (width,), ("embed",)).astype(self.dtype)
        if not self.config.use_noncausal:
            return jnp.where(has_video[:, None, None], direct, null)
        num_frames = video.shape[1]
        bias = RelativeTimeBias(self.config.num_heads, self.config.max_relative_frames, name="time_bias")
        around, _ = Attention(
            num_heads=self.config.num_heads,
            num_kv_heads=self.config.num_heads,
            head_dim=self.config.head_dim,
            dtype=self.dtype,
            name="attention",
        )(
            x,
            jnp.broadcast_to(frame_mask[:, None, :], (*frame_mask.shape, num_frames)),
            bias=bias(num_frames, num_frames),
        )
        return jnp.where(has_video[:, None, None], direct + around, null)


class MutualCache(NamedTuple):
    """Keys and values of each stream's past, as the other stream sees them."""

    speech: KVCache
    background: KVCache


class MutualAligner(nn.Module):
    """Each stream's past, enriched by the other stream's past through a gate that starts at zero."""

    config: AlignerConfig
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        speech: jax.Array,
        background: jax.Array,
        has_speech: jax.Array,
        has_background: jax.Array,
        cache: MutualCache | None = None,
        cache_index: jax.Array | int | None = None,
    ) -> tuple[jax.Array, jax.Array, MutualCache | None]:
        """Exchanges the pasts.

        Position t of both inputs already holds frame t - 1 (the streams come shifted), so looking at
        positions <= t means looking at frames <= t - 1.

        Args:
            speech: float[B, T, D], the embedded past of the speech stream.
            background: float[B, T, D], the embedded past of the background stream.
            has_speech: bool[B]; an absent stream is not looked at.
            has_background: bool[B].
            cache: for decoding one frame (T = 1) at a time.
            cache_index: the frame being decoded.

        Returns:
            Both streams, float[B, T, D], and the updated cache.
        """
        if not self.config.use_causal:
            return speech, background, cache
        asked = jnp.arange(speech.shape[1] if cache is None else cache.speech.keys.shape[1])
        asking = asked if cache is None else jnp.full((1,), cache_index)
        mask = self.may_look(asking[:, None], asked)[None]  # [1, T, S]
        normed_speech = rms_norm("speech_norm", self.dtype)(speech)
        normed_background = rms_norm("background_norm", self.dtype)(background)
        to_speech, background_cache = self._attention("speech_from_background")(
            normed_speech,
            mask & has_background[:, None, None],
            context=normed_background,
            cache=None if cache is None else cache.background,
            cache_index=cache_index,
        )
        to_background, speech_cache = self._attention("background_from_speech")(
            normed_background,
            mask & has_speech[:, None, None],
            context=normed_speech,
            cache=None if cache is None else cache.speech,
            cache_index=cache_index,
        )
        speech = speech + self._gate("speech_gate") * to_speech
        background = background + self._gate("background_gate") * to_background
        return speech, background, None if cache is None else MutualCache(speech_cache, background_cache)

    def may_look(self, asking: jax.Array, asked: jax.Array) -> jax.Array:
        """Which positions of the other stream a position looks at; a variant may narrow it, not widen it.

        Args:
            asking, asked: int32 of any shapes that broadcast, positions of this and of the other stream.

        Returns:
            bool of the broadcast shape, True where `asking` may look.
        """
        return asked <= asking

    def _attention(self, name: str) -> Attention:
        return Attention(
            num_heads=self.config.num_heads,
            num_kv_heads=self.config.num_heads,
            head_dim=self.config.head_dim,
            dtype=self.dtype,
            name=name,
        )

    def _gate(self, name: str) -> jax.Array:
        init = nn.with_logical_partitioning(nn.initializers.zeros, ("norm",))
        return jnp.tanh(self.param(name, init, (1,), jnp.float32)).astype(self.dtype)

    def empty_cache(self, batch_size: int, num_frames: int) -> MutualCache:
        """A cache of zeros for `batch_size` clips of `num_frames` frames."""
        shape = (batch_size, num_frames, self.config.num_heads, self.config.head_dim)
        zeros = KVCache(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))
        return MutualCache(zeros, zeros)
