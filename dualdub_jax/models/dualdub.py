"""DualDub: one language model over the time grid that emits speech and background tokens at once.

    script, voice ─► prefix ──────────────────────────────┐
    video ─► encoder ─► non-causal aligner ─► (+) ─► backbone ─┬─► speech head
    tokens < t of both streams ─► mutual aligner ─┤            └─► background head
    script ─► script aligner (if the config wants one) ─┘

`__call__` is training: all frames at once with the true past. `encode`, `start` and `advance` are
generation: the prefix once, then one frame after the other with caches. Both run the same submodules,
and a test holds them equal. Source: the DualDub abstract; what it leaves open is our choice
(docs/architecture.md).
"""

from typing import NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from dualdub_jax.config import CodecConfig, Config, GridConfig, ModelConfig
from dualdub_jax.encoders.pixels import VideoEncoder
from dualdub_jax.encoders.script import ScriptEncoder
from dualdub_jax.encoders.speaker import SpeakerEncoder
from dualdub_jax.layers.attention import KVCache
from dualdub_jax.layers.basic import learned
from dualdub_jax.layers.transformer import Transformer
from dualdub_jax.models.acoustics import AcousticsEncoder, AcousticsHead
from dualdub_jax.models.aligners.grid import MutualAligner, MutualCache, NonCausalAligner
from dualdub_jax.models.aligners.script import EncodedScript, ScriptAligner
from dualdub_jax.models.heads import DepthHead
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.parts.import_path import resolve
from dualdub_jax.types import STREAMS, Batch


@flax.struct.dataclass
class Conditions:
    """What the model knows before the first frame.

    Attributes:
        prefix: float[B, P, D], script tokens, then voice vectors.
        prefix_mask: bool[B, P], True where valid.
        video: float[B, T, D], the video context c_t of each frame, and the room.
        has_speech: bool[B], the speech stream exists.
        has_background: bool[B], the background stream exists.
        script: the script as the script aligner looks at it; None without one.
    """

    prefix: jax.Array
    prefix_mask: jax.Array
    video: jax.Array
    has_speech: jax.Array
    has_background: jax.Array
    script: EncodedScript | None


class DecodeCache(NamedTuple):
    """Caches of frame-by-frame generation."""

    backbone: KVCache
    aligner: MutualCache  # or what a fork's aligner makes with `empty_cache`
    script_position: jax.Array  # float32[B], how far the script has been read, in tokens


class StreamEmbedding(nn.Module):
    """The past of one stream: int32[B, T, Q] codes of frame t - 1 at position t -> float[B, T, D]."""

    num_codebooks: int
    codebook_size: int
    width: int
    dtype: str = "float32"

    def setup(self):
        shape = (self.num_codebooks, self.codebook_size, self.width)
        self.embedding = learned(self, "embedding", shape, ("codebooks", "vocab", "embed"))
        self.begin = learned(self, "begin", (self.width,), ("embed",))
        self.null = learned(self, "null", (self.width,), ("embed",))

    def __call__(
        self, codes: jax.Array, is_first: jax.Array, is_present: jax.Array, is_known: jax.Array | None = None
    ) -> jax.Array:
        """Embeds.

        Args:
            codes: int32[B, T, Q].
            is_first: bool[T], marks the clip's first frame.
            is_present: bool[B], of the stream.
            is_known: bool[B, T], False where the codes are not shown; None: nowhere.
        """
        codes = jnp.where(is_present[:, None, None] & ~is_first[None, :, None], codes, 0)
        x = sum(jnp.take(self.embedding[q], codes[..., q], axis=0) for q in range(self.num_codebooks))
        x = jnp.where(is_first[None, :, None], self.begin, x)
        if is_known is not None:
            x = jnp.where(is_known[:, :, None], x, self.null)
        return jnp.where(is_present[:, None, None], x, self.null).astype(self.dtype)


class DualDub(nn.Module):
    """The whole model; see the module's docstring."""

    config: ModelConfig
    grid: GridConfig
    speech_codec: CodecConfig
    background_codec: CodecConfig

    def setup(self):
        config, grid, dtype = self.config, self.grid, self.config.compute_dtype
        self.script_encoder = ScriptEncoder(
            config.script_vocab_size, config.width, dtype, name="script_encoder"
        )
        self.speaker_encoder = SpeakerEncoder(
            grid,
            config.num_speaker_vectors,
            config.speaker_width,
            config.width,
            dtype,
            name="speaker_encoder",
        )
        if config.num_acoustics_bins:
            self.acoustics_encoder = AcousticsEncoder(
                config.num_acoustics_bins, config.width, dtype, name="acoustics_encoder"
            )
            self.acoustics_head = AcousticsHead(config.num_acoustics_bins, name="acoustics_head")
        self.video_encoder = make_video_encoder(config)
        self.video_aligner = make_video_aligner(config)
        self.stream_aligner = make_stream_aligner(config)
        if config.aligner.use_script:
            self.script_aligner = ScriptAligner(config.width, dtype, name="script_aligner")
        self.backbone = Transformer(
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            mlp_width=config.mlp_width,
            rope_theta=config.rope_theta,
            use_qkv_bias=config.use_qkv_bias,
            use_qk_norm=config.use_qk_norm,
            remat_policy=config.remat_policy,
            attention_implementation=config.attention_implementation,
            dtype=dtype,
            name="backbone",
        )
        self.speech_embedding = self._embedding(self.speech_codec, "speech_embedding")
        self.background_embedding = self._embedding(self.background_codec, "background_embedding")
        self.speech_head = self._head(self.speech_codec, "speech_head")
        self.background_head = self._head(self.background_codec, "background_head")

    def _embedding(self, codec: CodecConfig, name: str) -> StreamEmbedding:
        return StreamEmbedding(
            codec.num_codebooks, codec.codebook_size, self.config.width, self.config.compute_dtype, name=name
        )

    def _head(self, codec: CodecConfig, name: str) -> DepthHead:
        return DepthHead(
            codec.num_codebooks,
            codec.codebook_size,
            self.config.head_width,
            self.config.compute_dtype,
            name=name,
        )

    def __call__(self, batch: Batch) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """Logits of every frame given the true past of both streams.

        Returns:
            Logits by stream, float32[B, T, Q, V], and named intermediates: "prefix" float[B, P, D],
            "video_context" float[B, T, D], "state" float[B, T, D]; with a script aligner also
            "script_position" float32[B, T] and "script_log_weights" float32[B, T, L], as in `ScriptAlignment`; with
            rooms "acoustics_logits" float32[B, 2, V], as `acoustics_logits`.
        """
        video_context = self.encode_video(batch)
        conditions = self._conditions(batch, video_context)
        num_frames = batch.frame_mask.shape[1]
        is_first = jnp.arange(num_frames) == 0
        valid = batch.frame_mask[:, :, None]
        speech_tokens = jnp.where(valid & batch.has_speech[:, None, None], batch.speech_tokens, 0)
        background_tokens = jnp.where(valid & batch.has_background[:, None, None], batch.background_tokens, 0)
        known = {stream: getattr(batch, f"{stream}_is_known", None) for stream in STREAMS}
        speech = self.speech_embedding(_shift(speech_tokens), is_first, batch.has_speech, known["speech"])
        background = self.background_embedding(
            _shift(background_tokens), is_first, batch.has_background, known["background"]
        )
        speech, background, _ = self.stream_aligner(
            speech, background, batch.has_speech, batch.has_background
        )
        x = constrain(conditions.video + speech + background, "batch", "length", "act_embed")
        alignment = None
        if conditions.script is not None:
            alignment = self.script_aligner(x, conditions.script, jnp.zeros(x.shape[0]))
            x = x + alignment.values
        x = jnp.concatenate([conditions.prefix, x], axis=1)  # [B, P + T, D]
        num_prefix = conditions.prefix.shape[1]
        state, _ = self.backbone(
            x, prefix_causal_mask(conditions.prefix_mask, num_frames), jnp.arange(num_prefix + num_frames)
        )
        state = state[:, num_prefix:]
        logits = {
            "speech": self.speech_head(state, speech_tokens),
            "background": self.background_head(state, background_tokens),
        }
        seen = {"prefix": conditions.prefix, "video_context": video_context, "state": state}
        if self.config.num_acoustics_bins:
            seen["acoustics_logits"] = self.acoustics_head(video_context, batch.frame_mask)
        if alignment is not None:
            seen |= {"script_position": alignment.positions, "script_log_weights": alignment.log_weights}
        return logits, seen

    def encode(self, batch: Batch) -> Conditions:
        """Everything that does not depend on generated tokens."""
        return self._conditions(batch, self.encode_video(batch))

    def encode_video(self, batch: Batch) -> jax.Array:
        """The video context of each frame, float[B, T, D]."""
        video = self.video_encoder(batch.video, batch.frame_mask, batch.has_video)
        return self.video_aligner(video, batch.frame_mask, batch.has_video)

    def acoustics_logits(self, batch: Batch) -> jax.Array:
        """What the video tells of the room, float32[B, 2, V]: of reverberation and of noise, by bin."""
        return self.acoustics_head(self.encode_video(batch), batch.frame_mask)

    def _conditions(self, batch: Batch, video_context: jax.Array) -> Conditions:
        script, script_mask = self.script_encoder(batch.script_tokens, batch.script_mask, batch.has_script)
        voice = self.speaker_encoder(batch.voice, batch.voice_mask, batch.has_voice)
        prefix = jnp.concatenate([script, voice], axis=1)
        prefix_mask = jnp.concatenate([script_mask, jnp.ones(voice.shape[:2], bool)], axis=1)
        if self.config.num_acoustics_bins:
            video_context = (
                video_context + self.acoustics_encoder(batch.acoustics, batch.has_acoustics)[:, None]
            )
        return Conditions(
            prefix=prefix,
            prefix_mask=prefix_mask,
            video=video_context,
            has_speech=batch.has_speech,
            has_background=batch.has_background,
            script=self.script_aligner.read(script, script_mask) if self.config.aligner.use_script else None,
        )

    def start(self, conditions: Conditions) -> DecodeCache:
        """Runs the prefix once and returns caches for `advance`."""
        batch_size, num_prefix = conditions.prefix_mask.shape
        num_frames = conditions.video.shape[1]
        cache = self.backbone.empty_cache(batch_size, num_prefix + num_frames)
        mask = conditions.prefix_mask[:, None, :]
        mask = jnp.broadcast_to(mask, (batch_size, num_prefix, num_prefix))
        mask = jnp.pad(mask, ((0, 0), (0, 0), (0, num_frames)))
        _, cache = self.backbone(conditions.prefix, mask, jnp.arange(num_prefix), cache, 0)
        aligner_cache = self.stream_aligner.empty_cache(batch_size, num_frames)
        return DecodeCache(cache, aligner_cache, jnp.zeros(batch_size))

    def advance(
        self,
        conditions: Conditions,
        cache: DecodeCache,
        frame: jax.Array,
        speech_codes: jax.Array,
        background_codes: jax.Array,
    ) -> tuple[jax.Array, DecodeCache]:
        """The state of one frame, from which both heads sample.

        Args:
            conditions: from `encode`.
            cache: from `start` or the last `advance`.
            frame: int32[], index t of the frame to come.
            speech_codes: int32[B, Q], codes of frame t - 1 (ignored for t = 0).
            background_codes: int32[B, Q'], likewise.

        Returns:
            float[B, D] and the cache with frame t in it.
        """
        is_first = (frame == 0)[None]
        speech = self.speech_embedding(speech_codes[:, None], is_first, conditions.has_speech)
        background = self.background_embedding(background_codes[:, None], is_first, conditions.has_background)
        speech, background, aligner_cache = self.stream_aligner(
            speech, background, conditions.has_speech, conditions.has_background, cache.aligner, frame
        )
        video = jax.lax.dynamic_slice_in_dim(conditions.video, frame, 1, axis=1)
        num_prefix, num_frames = conditions.prefix.shape[1], conditions.video.shape[1]
        frames_so_far = jnp.arange(num_frames) <= frame
        frames_so_far = jnp.broadcast_to(frames_so_far, (video.shape[0], num_frames))
        mask = jnp.concatenate([conditions.prefix_mask, frames_so_far], axis=1)[:, None, :]
        position = num_prefix + frame
        x, script_position = video + speech + background, cache.script_position
        if conditions.script is not None:
            alignment = self.script_aligner(x, conditions.script, script_position)
            x, script_position = x + alignment.values, alignment.positions[:, -1]
        state, backbone_cache = self.backbone(x, mask, position[None], cache.backbone, position)
        return state[:, 0], DecodeCache(backbone_cache, aligner_cache, script_position)


def prefix_causal_mask(prefix_mask: jax.Array, num_frames: int) -> jax.Array:
    """bool[B, P + T, P + T]: the prefix sees itself whole, frames see the prefix and their past.

    Args:
        prefix_mask: bool[B, P], True where the prefix is valid.
        num_frames: T.
    """
    batch_size, num_prefix = prefix_mask.shape
    length = num_prefix + num_frames
    is_prefix = jnp.arange(length) < num_prefix
    causal = jnp.tril(jnp.ones((length, length), bool))
    valid = jnp.concatenate([prefix_mask, jnp.ones((batch_size, num_frames), bool)], axis=1)
    return (causal | is_prefix[None, :])[None] & valid[:, None, :]


def _shift(tokens: jax.Array) -> jax.Array:
    """int32[B, T, Q] -> the same with frame t - 1 at position t; position 0 is never read."""
    return jnp.pad(tokens[:, :-1], ((0, 0), (1, 0), (0, 0)))


def make_video_encoder(config: ModelConfig) -> VideoEncoder:
    """The video encoder of a model of this size; as a submodule it is named "video_encoder"."""
    return VideoEncoder(
        config.video,
        config.width,
        config.num_heads,
        config.head_dim,
        config.mlp_width,
        config.remat_policy,
        config.attention_implementation,
        config.compute_dtype,
        name="video_encoder",
    )


def make_video_aligner(config: ModelConfig) -> nn.Module:
    """The aligner's non-causal branch; as a submodule it is named "video_aligner"."""
    aligner = resolve(config.aligner.noncausal, NonCausalAligner, "config.model.aligner.noncausal")
    return aligner(config=config.aligner, dtype=config.compute_dtype, name="video_aligner")


def make_stream_aligner(config: ModelConfig) -> nn.Module:
    """The aligner's causal, mutual branch; as a submodule it is named "stream_aligner"."""
    aligner = resolve(config.aligner.mutual, MutualAligner, "config.model.aligner.mutual")
    return aligner(config=config.aligner, dtype=config.compute_dtype, name="stream_aligner")


def make_model(config: Config) -> DualDub:
    """The linen module that a config describes."""
    return DualDub(config.model, config.grid, config.speech_codec, config.background_codec)


def example_batch(config: Config, batch_size: int = 1) -> Batch:
    """A batch of zeros with every field's shape and dtype: for shape inference and initialisation."""
    grid = config.grid
    frames = (batch_size, grid.num_frames)
    return Batch(
        video=jnp.zeros((*frames, grid.frame_size, grid.frame_size, 3), jnp.uint8),
        frame_mask=jnp.ones(frames, bool),
        script_tokens=jnp.zeros((batch_size, grid.num_script_tokens), jnp.int32),
        script_mask=jnp.ones((batch_size, grid.num_script_tokens), bool),
        script_alignment=jnp.full(frames, -1, jnp.int32),
        voice=jnp.zeros((batch_size, grid.num_voice_frames * grid.samples_per_frame), jnp.float32),
        voice_mask=jnp.ones((batch_size, grid.num_voice_frames), bool),
        acoustics=jnp.ones((batch_size, 2), jnp.float32),
        speech_tokens=jnp.zeros((*frames, config.speech_codec.num_codebooks), jnp.int32),
        background_tokens=jnp.zeros((*frames, config.background_codec.num_codebooks), jnp.int32),
        **{
            name: jnp.ones((batch_size,), bool)
            for name in (
                "has_video",
                "has_script",
                "has_voice",
                "has_acoustics",
                "has_speech",
                "has_background",
            )
        },
    )
