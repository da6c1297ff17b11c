"""The aligner kind "grid": streams and video share the time grid, so each token frame has a video frame.

- `VideoAttention`, non-causal: each frame attends to the whole video, past and future, for synchronization.
- `StreamAttention`, causal: each stream's past attends to the other stream's past, never to the frame to be
  predicted, for acoustic harmony.

Both are optional (`config.aligner`). Source: the paper sums four cross-attentions (its section on the
cross-modal aligner) and queries video from the audio streams, see paper.py. This form is our choice. Video
queries itself, and a direct path adds the co-timed video frame to each token frame.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from dualdub_jax.config import ModelConfig
from dualdub_jax.layers.attention import Attention, RelativeTimeBias
from dualdub_jax.layers.basic import dense, learned, rms_norm
from dualdub_jax.layers.kv_cache import KVCache, empty_cache
from dualdub_jax.models.aligners.base import Aligned
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


class StreamCache(NamedTuple):
    """Keys and values of each stream's past, as the other stream attends to them."""

    speech: KVCache
    background: KVCache


@flax.struct.dataclass
class GridCache:
    """Cache of a `GridAligner`.

    Attributes:
        video: float[B, T, D], the video context of each frame.
        streams: pasts of both streams.
    """

    video: jax.Array
    streams: StreamCache


class GridAligner(nn.Module):
    """Sums the video context and both streams' pasts, each after attention to the other.

    Attributes:
        config: of the model; `config.aligner` has its sizes.
    """

    config: ModelConfig

    def setup(self):
        self.noncausal = VideoAttention(self.config, name="noncausal")
        self.causal = StreamAttention(self.config, self.may_attend, name="causal")

    def may_attend(self, query: jax.Array, key: jax.Array) -> jax.Array:
        """Which positions of the other stream a position may attend to; subclasses may only narrow it.

        Args:
            query, key: int32 of broadcastable shapes, positions in this and in the other stream.

        Returns:
            bool of the broadcast shape.
        """
        return key <= query

    @checked
    def start(self, conditions: Conditions) -> GridCache:
        """See `Aligner.start`."""
        batch_size, num_frames = conditions.frame_mask.shape
        video = self.noncausal(conditions.video, conditions.frame_mask, conditions.has_video)
        sizes = self.config.aligner
        past = empty_cache(batch_size, sizes.num_heads, num_frames, sizes.head_dim, self.config.compute_dtype)
        return GridCache(video, StreamCache(past, past))

    def video_context(self, conditions: Conditions, cache: GridCache) -> jax.Array:
        """See `Aligner`."""
        return cache.video

    @checked
    def __call__(
        self,
        speech: Float[Array, "B T D"],
        background: Float[Array, "B T D"],
        conditions: Conditions,
        cache: GridCache,
        frame: Int[Array, ""] | None = None,
    ) -> Aligned:
        """See `Aligner.__call__`."""
        video, streams = cache.video, None if frame is None else cache.streams
        if frame is not None:
            video = jax.lax.dynamic_slice_in_dim(video, frame, 1, axis=1)
        speech, background, streams = self.causal(
            speech, background, conditions.has_speech, conditions.has_background, streams, frame
        )
        return Aligned(
            video + speech + background, cache if frame is None else GridCache(cache.video, streams)
        )


class VideoAttention(nn.Module):
    """The video context of each frame: its own video frame, plus attention with a relative time bias.

    A learned null replaces an absent video.

    Attributes:
        config: of the model.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, video: jax.Array, frame_mask: jax.Array, has_video: jax.Array) -> jax.Array:
        """Computes the video context.

        Args:
            video: float[B, T, D], encoded video frames.
            frame_mask: bool[B, T], True inside the clip.
            has_video: bool[B], False without a video.

        Returns:
            float[B, T, D].
        """
        sizes, dtype = self.config.aligner, self.config.compute_dtype
        width, num_frames = video.shape[-1], video.shape[1]
        x = rms_norm("norm", dtype)(video)
        direct = dense(width, ("embed", "mlp"), name="direct", dtype=dtype)(x)
        null = learned(self, "null", (width,), ("embed",)).astype(dtype)
        if not sizes.use_noncausal:
            return jnp.where(has_video[:, None, None], direct, null)
        bias = RelativeTimeBias(sizes.num_heads, sizes.max_relative_frames, name="time_bias")
        attended, _ = Attention(
            num_heads=sizes.num_heads,
            num_kv_heads=sizes.num_heads,
            head_dim=sizes.head_dim,
            dtype=dtype,
            name="attention",
        )(
            x,
            jnp.broadcast_to(frame_mask[:, None, :], (*frame_mask.shape, num_frames)),
            bias=bias(num_frames, num_frames),
        )
        return jnp.where(has_video[:, None, None], direct + attended, null)


class StreamAttention(nn.Module):
    """Mutual attention between the streams' pasts, scaled by tanh gates that are initialised to zero.

    Attributes:
        config: of the model.
        may_attend: see `GridAligner.may_attend`.
    """

    config: ModelConfig
    may_attend: Callable[[jax.Array, jax.Array], jax.Array]

    @nn.compact
    def __call__(
        self,
        speech: jax.Array,
        background: jax.Array,
        has_speech: jax.Array,
        has_background: jax.Array,
        cache: StreamCache | None = None,
        frame: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array, StreamCache | None]:
        """Adds to each stream attention to the other.

        Args:
            speech: float[B, T, D], the embedded past of the speech stream.
            background: float[B, T, D], the embedded past of the background stream.
            has_speech: bool[B]; an absent stream is not attended to.
            has_background: bool[B].
            cache: for decoding one frame (T = 1) at a time; None: all frames in parallel.
            frame: int32[], the frame to be decoded.

        Returns:
            Both streams, float[B, T, D], and the updated cache.
        """
        if not self.config.aligner.use_causal:
            return speech, background, cache
        dtype = self.config.compute_dtype
        keys = jnp.arange(speech.shape[1] if cache is None else cache.speech.keys.shape[-2])
        queries = keys if cache is None else jnp.full((1,), frame)
        mask = self.may_attend(queries[:, None], keys)[None]  # [1, T, S]
        normed_speech = rms_norm("speech_norm", dtype)(speech)
        normed_background = rms_norm("background_norm", dtype)(background)
        to_speech, background_cache = self._attention("speech_from_background")(
            normed_speech,
            mask & has_background[:, None, None],
            context=normed_background,
            cache=None if cache is None else cache.background,
            cache_index=frame,
        )
        to_background, speech_cache = self._attention("background_from_speech")(
            normed_background,
            mask & has_speech[:, None, None],
            context=normed_speech,
            cache=None if cache is None else cache.speech,
            cache_index=frame,
        )
        speech = speech + self._gate("speech_gate") * to_speech
        background = background + self._gate("background_gate") * to_background
        return speech, background, None if cache is None else StreamCache(speech_cache, background_cache)

    def _attention(self, name: str) -> Attention:
        sizes = self.config.aligner
        return Attention(
            num_heads=sizes.num_heads,
            num_kv_heads=sizes.num_heads,
            head_dim=sizes.head_dim,
            dtype=self.config.compute_dtype,
            name=name,
        )

    def _gate(self, name: str) -> jax.Array:
        init = nn.with_logical_partitioning(nn.initializers.zeros, ("norm",))
        return jnp.tanh(self.param(name, init, (1,), jnp.float32)).astype(self.config.compute_dtype)
