"""The paper's cross-modal aligner: the sum of four cross-attentions, each with a residual connection.

    background from speech    causal       the past of the other stream, for acoustic harmony
    speech from background    causal
    background from video     non-causal   the whole video, for synchronization
    speech from video         non-causal

Source: the DualDub paper (arXiv 2507.10109), its section on the cross-modal aligner. Unstated there, our
choice: rotary positions on the time grid, shared by streams and video; RMSNorm before queries and before
keys; separate weights of the four; 4 heads; zero for a term whose query stream is absent, and no attention to
an absent stream or video.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from dualdub_jax.config import ModelConfig
from dualdub_jax.layers.attention import KVCache, dot_product_attention, rotate
from dualdub_jax.layers.basic import dense, rms_norm
from dualdub_jax.models.aligners.base import Aligned
from dualdub_jax.models.conditions import Conditions

_ROPE_THETA = 10_000.0


class PaperCache(NamedTuple):
    """Keys and values, float[B, T, N, H] each; of streams, written frame by frame, of video, once per clip.

    Attributes:
        speech: keys and values of the attention from background to speech.
        background: of the attention from speech to background.
        video_for_speech, video_for_background: of the attentions to video.
    """

    speech: KVCache
    background: KVCache
    video_for_speech: KVCache
    video_for_background: KVCache


class CrossAttention(nn.Module):
    """Cross-attention with rotary positions; `keys_values` projects the context separately, for caching.

    Attributes:
        num_heads: N.
        head_dim: H.
        width: D.
        dtype: compute dtype.
    """

    num_heads: int
    head_dim: int
    width: int
    dtype: str

    def setup(self):
        inner = self.num_heads * self.head_dim
        self.query_norm, self.key_norm = (rms_norm(f"{name}_norm", self.dtype) for name in ("query", "key"))
        self.query = dense(inner, ("embed", "heads"), name="query", dtype=self.dtype)
        self.key = dense(inner, ("embed", "kv_heads"), name="key", dtype=self.dtype)
        self.value = dense(inner, ("embed", "kv_heads"), name="value", dtype=self.dtype)
        self.out = dense(self.width, ("heads", "embed"), name="out", dtype=self.dtype)

    def keys_values(self, context: jax.Array, positions: jax.Array) -> KVCache:
        """Projects a context float[B, S, D] at positions int32[S] to float[B, S, N, H] each."""
        context = self.key_norm(context)
        return KVCache(
            rotate(self._heads(self.key(context)), positions, _ROPE_THETA), self._heads(self.value(context))
        )

    def __call__(self, x: jax.Array, positions: jax.Array, context: KVCache, mask: jax.Array) -> jax.Array:
        """Attends from float[B, T, D] at int32[T]; mask bool[B, T, S], True where a query may attend."""
        queries = rotate(self._heads(self.query(self.query_norm(x))), positions, _ROPE_THETA)
        attended = dot_product_attention(queries, *context, mask)
        return self.out(rearrange(attended, "B T N H -> B T (N H)"))

    def _heads(self, x: jax.Array) -> jax.Array:
        return rearrange(x, "B T (N H) -> B T N H", H=self.head_dim)


class PaperAligner(nn.Module):
    """Implements `models.aligners.base.Aligner`.

    Attributes:
        config: of the model.
        num_heads: N of each attention.
        head_dim: H; 0: `config.width / num_heads`.
        background_from_speech, speech_from_background, background_from_video, speech_from_video: False
            removes the term, with its residual connection, for ablations.
    """

    config: ModelConfig
    num_heads: int = 4
    head_dim: int = 0
    background_from_speech: bool = True
    speech_from_background: bool = True
    background_from_video: bool = True
    speech_from_video: bool = True

    def setup(self):
        self.to_background_speech = self._attention("attend_background_from_speech")
        self.to_speech_background = self._attention("attend_speech_from_background")
        self.to_background_video = self._attention("attend_background_from_video")
        self.to_speech_video = self._attention("attend_speech_from_video")

    def _attention(self, name: str) -> CrossAttention:
        head_dim = self.head_dim or self.config.width // self.num_heads
        return CrossAttention(
            self.num_heads, head_dim, self.config.width, self.config.compute_dtype, name=name
        )

    def start(self, conditions: Conditions) -> PaperCache:
        """See `Aligner.start`."""
        batch_size, num_frames = conditions.frame_mask.shape
        head_dim = self.head_dim or self.config.width // self.num_heads
        zeros = jnp.zeros((batch_size, num_frames, self.num_heads, head_dim), self.config.compute_dtype)
        positions = jnp.arange(num_frames)
        return PaperCache(
            speech=KVCache(zeros, zeros),
            background=KVCache(zeros, zeros),
            video_for_speech=self.to_speech_video.keys_values(conditions.video, positions),
            video_for_background=self.to_background_video.keys_values(conditions.video, positions),
        )

    def __call__(
        self,
        speech: jax.Array,
        background: jax.Array,
        conditions: Conditions,
        cache: PaperCache,
        frame: jax.Array | None = None,
    ) -> Aligned:
        """See `Aligner.__call__`."""
        keys = jnp.arange(conditions.frame_mask.shape[1])
        queries = keys if frame is None else frame[None]
        speech_keys = self.to_background_speech.keys_values(speech, queries)
        background_keys = self.to_speech_background.keys_values(background, queries)
        if frame is not None:
            speech_keys = _write(cache.speech, speech_keys, frame)
            background_keys = _write(cache.background, background_keys, frame)
        causal = (keys <= queries[:, None])[None]
        in_clip = (conditions.frame_mask & conditions.has_video[:, None])[:, None, :]
        whole_video = jnp.broadcast_to(in_clip, (len(in_clip), len(queries), len(keys)))
        has_speech, has_background = (
            has[:, None, None] for has in (conditions.has_speech, conditions.has_background)
        )
        terms = [
            (self.background_from_speech, self.to_background_speech, background, has_background, speech_keys,
             causal & has_speech),
            (self.speech_from_background, self.to_speech_background, speech, has_speech, background_keys,
             causal & has_background),
            (self.background_from_video, self.to_background_video, background, has_background,
             cache.video_for_background, whole_video),
            (self.speech_from_video, self.to_speech_video, speech, has_speech, cache.video_for_speech,
             whole_video),
        ]  # fmt: skip
        fused = jnp.zeros_like(speech)
        for is_on, attend, x, is_present, context, mask in terms:
            if is_on:
                fused = fused + jnp.where(is_present, x + attend(x, queries, context, mask), 0.0)
        if frame is not None:
            cache = cache._replace(speech=speech_keys, background=background_keys)
        return Aligned(fused, cache)


def _write(cache: KVCache, new: KVCache, frame: jax.Array) -> KVCache:
    """Writes one frame's keys and values to the cache."""
    write = jax.lax.dynamic_update_slice_in_dim
    return KVCache(
        *(write(old, x.astype(old.dtype), frame, axis=1) for old, x in zip(cache, new, strict=True))
    )
