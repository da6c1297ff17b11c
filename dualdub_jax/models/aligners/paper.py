"""The aligner kind "paper": the sum of four cross-attentions, each with a residual connection.

    background from speech    causal       the past of the other stream, for acoustic harmony
    speech from background    causal
    background from video     non-causal   the whole video, for synchronization
    speech from video         non-causal

Source: the DualDub paper (arXiv 2507.10109), its section on the cross-modal aligner. Unstated there, our
choice: positions on the time grid, shared by streams and video; RMSNorm before queries and before keys;
separate weights of the four; zero for a term whose query stream is absent, and no attention to an absent
stream or video. The paper sets an absent video to zeros, which is the same: keys and values of zeros are
zeros, and so is what is attended to.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Bool, Float, Int

from dualdub_jax.config import ModelConfig
from dualdub_jax.errors import UserError
from dualdub_jax.layers.attention import RelativeTimeBias, dot_product_attention, rotate
from dualdub_jax.layers.basic import dense, rms_norm
from dualdub_jax.layers.kv_cache import KVCache, empty_cache, filled, read, write
from dualdub_jax.models.aligners.base import Aligned
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

POSITIONS = ("rotary", "relative")
# The four attentions, "<query>_from_<key>", and whether they are causal.
ATTENTIONS = {
    "background_from_speech": True,
    "speech_from_background": True,
    "background_from_video": False,
    "speech_from_video": False,
}


KeysValues = tuple[Float[Array, "B S N H"], Float[Array, "B S N H"]]


class PaperCache(NamedTuple):
    """Keys and values by attention; attentions that are switched off have none.

    Attributes:
        past: of the other stream, written frame by frame.
        video: of the video, computed once per clip.
    """

    past: dict[str, KVCache]
    video: dict[str, KVCache]


class CrossAttention(nn.Module):
    """Cross-attention on the time grid; `keys_values` projects the context separately, for caching.

    Attributes:
        config: of the model; `config.aligner` has the sizes.
        positions: "rotary", or "relative" for a learned bias by distance.
        rope_theta: base of the rotary wavelengths.
        starts_at_zero: initialises the output projection with zeros.
    """

    config: ModelConfig
    positions: str
    rope_theta: float
    starts_at_zero: bool

    def setup(self):
        config, dtype = self.config, self.config.compute_dtype
        inner = config.aligner.num_heads * config.aligner.head_dim
        self.query_norm, self.key_norm = (rms_norm(f"{name}_norm", dtype) for name in ("query", "key"))
        self.query = dense(inner, ("embed", "heads"), name="query", dtype=dtype)
        self.key = dense(inner, ("embed", "kv_heads"), name="key", dtype=dtype)
        self.value = dense(inner, ("embed", "kv_heads"), name="value", dtype=dtype)
        scale = 0.0 if self.starts_at_zero else 1.0
        self.out = dense(config.width, ("heads", "embed"), name="out", dtype=dtype, scale=scale)
        if self.positions == "relative":
            sizes = config.aligner
            self.time_bias = RelativeTimeBias(sizes.num_heads, sizes.max_relative_frames, name="time_bias")

    @checked
    def keys_values(self, context: Float[Array, "B S D"], frames: Int[Array, " S"]) -> KeysValues:
        """Projects a context to keys and values.

        Args:
            context: float[B, S, D].
            frames: int32[S], on the time grid.
        """
        context = self.key_norm(context)
        return self._placed(self.key(context), frames), self._heads(self.value(context))

    @checked
    def __call__(
        self,
        x: Float[Array, "B T D"],
        frames: Int[Array, " T"],
        context: KeysValues,
        mask: Bool[Array, "B T S"],
    ) -> Float[Array, "B T D"]:
        """Attends to a context.

        Args:
            x: float[B, T, D].
            frames: int32[T], consecutive, on the time grid.
            context: from `keys_values`, of frames 0 to S - 1.
            mask: bool[B, T, S], True where a query may attend.
        """
        queries = constrain(
            self._placed(self.query(self.query_norm(x)), frames), "batch", "length", "act_heads", None
        )
        bias = None
        if self.positions == "relative":
            bias = self.time_bias(len(frames), mask.shape[-1], frames[0])
        attended = dot_product_attention(queries, *context, mask, bias)
        return self.out(rearrange(attended, "B T N H -> B T (N H)"))

    def _heads(self, x: jax.Array) -> jax.Array:
        return rearrange(x, "B T (N H) -> B T N H", H=self.config.aligner.head_dim)

    def _placed(self, x: jax.Array, frames: jax.Array) -> jax.Array:
        x = self._heads(x)
        return rotate(x, frames, self.rope_theta) if self.positions == "rotary" else x


class PaperAligner(nn.Module):
    """Implements `models.aligners.base.Aligner`.

    Attributes:
        config: of the model. `config.aligner` has the sizes, and switches both causal (`use_causal`) and both
            non-causal attentions (`use_noncausal`).
        background_from_speech, speech_from_background, background_from_video, speech_from_video: False
            switches the attention off; its residual connection stays, so that no stream loses its past.
        positions: "rotary", or "relative": a learned bias by distance, clipped at
            `config.aligner.max_relative_frames`.
        rope_theta: base of the rotary wavelengths.
        starts_at_zero: initialises the attentions' output projections with zeros, so that before training the
            aligner is the sum of its residual connections.
        adds_video: adds the encoded video frame to each fused frame. The paper's fused sequence has no such
            term, so that without its attentions to video, nothing of the video reaches the language model.
    """

    config: ModelConfig
    background_from_speech: bool = True
    speech_from_background: bool = True
    background_from_video: bool = True
    speech_from_video: bool = True
    positions: str = "rotary"
    rope_theta: float = 10_000.0
    starts_at_zero: bool = False
    adds_video: bool = False

    def setup(self):
        if self.positions not in POSITIONS:
            raise UserError(
                f"config.model.aligner.kind={self.config.aligner.kind}: positions={self.positions!r} is none "
                f"of {', '.join(POSITIONS)}"
            )
        self.attend = {
            name: CrossAttention(
                self.config, self.positions, self.rope_theta, self.starts_at_zero, name=f"attend_{name}"
            )
            for name in ATTENTIONS
            if self._is_on(name)
        }

    def _is_on(self, name: str) -> bool:
        sizes = self.config.aligner
        return getattr(self, name) and (sizes.use_causal if ATTENTIONS[name] else sizes.use_noncausal)

    @checked
    def start(self, conditions: Conditions) -> PaperCache:
        """See `Aligner.start`."""
        batch_size, num_frames = conditions.frame_mask.shape
        sizes, frames = self.config.aligner, jnp.arange(num_frames)
        empty = empty_cache(
            batch_size, sizes.num_heads, num_frames, sizes.head_dim, self.config.compute_dtype
        )
        past, video = {}, {}
        for name, attention in self.attend.items():
            if ATTENTIONS[name]:
                past[name] = empty
            else:
                video[name] = filled(*attention.keys_values(conditions.video, frames))
        return PaperCache(past, video)

    @checked
    def __call__(
        self,
        speech: Float[Array, "B T D"],
        background: Float[Array, "B T D"],
        conditions: Conditions,
        cache: PaperCache,
        frame: Int[Array, ""] | None = None,
    ) -> Aligned:
        """See `Aligner.__call__`."""
        streams = {"speech": speech, "background": background}
        present = {"speech": conditions.has_speech, "background": conditions.has_background}
        keys = jnp.arange(conditions.frame_mask.shape[1])
        queries = keys if frame is None else frame[None]
        in_clip = conditions.frame_mask & conditions.has_video[:, None]
        is_past = keys <= queries[:, None]  # [T, S]

        fused, past = jnp.zeros_like(speech), dict(cache.past)
        for name, is_causal in ATTENTIONS.items():
            query, _, key = name.partition("_from_")
            x = streams[query]
            if self._is_on(name):
                attention = self.attend[name]
                if is_causal:
                    context = attention.keys_values(streams[key], queries)
                    if frame is not None:
                        past[name] = write(cache.past[name], *context, frame)
                        context = read(past[name], self.config.aligner.num_heads)
                    mask = is_past[None] & present[key][:, None, None]
                else:
                    context = read(cache.video[name], self.config.aligner.num_heads)
                    mask = jnp.broadcast_to(in_clip[:, None], (len(in_clip), len(queries), len(keys)))
                x = x + attention(x, queries, context, mask)
            fused = fused + jnp.where(present[query][:, None, None], x, 0.0)
        if self.adds_video:
            video = conditions.video
            if frame is not None:
                video = jax.lax.dynamic_slice_in_dim(video, frame, 1, axis=1)
            fused = fused + jnp.where(conditions.has_video[:, None, None], video, 0.0)
        return Aligned(constrain(fused, "batch", "length", "act_embed"), PaperCache(past, cache.video))
