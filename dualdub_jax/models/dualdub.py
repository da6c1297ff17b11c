"""DualDub: a language model over the time grid that predicts speech and background tokens jointly.

    script, voice ─► encoders ─► prefix ──────────────────────────┐
    video ─► video encoder ─┐                                      ├─► backbone ─┬─► speech head
    tokens < t of both ─────┴─► aligner ─► (+ acoustics, + script) ┘             └─► background head

`__call__` predicts all frames in parallel under teacher forcing, for training. For generation, `encode` and
`start` encode the prefix once, and `advance` runs frame by frame with caches. Both paths run the same
submodules; tests assert equality. The config selects every submodule by kind or import path. Source: the
paper's architecture; docs/architecture.md lists the differences.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from dualdub_jax.codecs.registry import grid_spec
from dualdub_jax.config import Config, GridConfig, ModelConfig
from dualdub_jax.encoders.base import SCRIPT_ENCODERS, SPEAKER_ENCODERS, VIDEO_ENCODERS
from dualdub_jax.errors import UserError
from dualdub_jax.models.acoustics import AcousticsEncoder, AcousticsHead
from dualdub_jax.models.aligners.base import ALIGNERS
from dualdub_jax.models.aligners.script import ScriptAligner, ScriptAlignment
from dualdub_jax.models.backbone import BACKBONES
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.models.heads import HEADS
from dualdub_jax.models.stream_embedding import StreamEmbedding
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import STREAMS, Array, Batch, Stream


class TokenSpec(NamedTuple):
    """Tokens of one stream on the grid: Q codebooks of V entries, and the kind of their head."""

    num_codebooks: int
    codebook_size: int
    head: str = "depth"


@flax.struct.dataclass
class ModelOutput:
    """Predictions for a batch.

    Attributes:
        logits: by stream, float32[B, T, Q, V].
        prefix: float[B, P, D], encoded script and reference.
        state: float[B, T, D], hidden states of the frames.
        script: alignment of frames with the script; None without a script aligner.
        acoustics_logits: float32[B, 2, V], logits over bins of reverberation time and noise level, predicted
            from video; None for a model without acoustics conditioning.
    """

    logits: dict[Stream, jax.Array]
    prefix: jax.Array
    state: jax.Array
    script: ScriptAlignment | None
    acoustics_logits: jax.Array | None


class DecodeCache(NamedTuple):
    """Caches of frame-by-frame generation.

    Attributes:
        backbone: cache of the backbone.
        aligner: cache of the aligner.
        script_position: float32[B], position in the script, in tokens.
    """

    backbone: Any
    aligner: Any
    script_position: jax.Array


class DualDub(nn.Module):
    """The whole model; see the module's docstring.

    Attributes:
        config: of the model.
        grid: the time grid.
        speech: format of the speech tokens.
        background: format of the background tokens.
    """

    config: ModelConfig
    grid: GridConfig
    speech: TokenSpec
    background: TokenSpec

    def setup(self):
        config, dtype = self.config, self.config.compute_dtype
        self.script_encoder = SCRIPT_ENCODERS.make(
            config.script_encoder, config=config, name="script_encoder"
        )
        self.speaker_encoder = SPEAKER_ENCODERS.make(
            config.speaker_encoder, config=config, grid=self.grid, name="speaker_encoder"
        )
        if config.num_acoustics_bins:
            self.acoustics_encoder = AcousticsEncoder(
                config.num_acoustics_bins, config.width, dtype, name="acoustics_encoder"
            )
            self.acoustics_head = AcousticsHead(config.num_acoustics_bins, name="acoustics_head")
        self.video_encoder = make_video_encoder(config)
        self.aligner = make_aligner(config)
        if config.aligner.use_script:
            self.script_aligner = ScriptAligner(config.width, dtype, name="script_aligner")
        self.backbone = BACKBONES.make(config.backbone, config=config, name="backbone")
        self.speech_embedding = self._embedding(self.speech, "speech_embedding")
        self.background_embedding = self._embedding(self.background, "background_embedding")
        self.speech_head = self._head(self.speech, "speech_head")
        self.background_head = self._head(self.background, "background_head")

    def _embedding(self, tokens: TokenSpec, name: str) -> StreamEmbedding:
        return StreamEmbedding(
            tokens.num_codebooks,
            tokens.codebook_size,
            self.config.width,
            self.config.compute_dtype,
            name=name,
        )

    def _head(self, tokens: TokenSpec, name: str) -> nn.Module:
        return HEADS.make(
            tokens.head,
            config=self.config,
            num_codebooks=tokens.num_codebooks,
            codebook_size=tokens.codebook_size,
            name=name,
        )

    def head(self, stream: Stream) -> nn.Module:
        """The head of a stream; a bound submodule."""
        return getattr(self, f"{stream}_head")

    def __call__(self, batch: Batch) -> ModelOutput:
        """Predicts every frame from the true past of both streams (teacher forcing)."""
        conditions = self.encode(batch)
        num_frames = batch.frame_mask.shape[1]
        is_first = jnp.arange(num_frames) == 0
        valid = batch.frame_mask[:, :, None]
        tokens, pasts = {}, {}
        for stream in STREAMS:
            is_present = getattr(batch, f"has_{stream}")
            codes = getattr(batch, f"{stream}_tokens")
            tokens[stream] = jnp.where(valid & is_present[:, None, None], codes, 0)
            is_known = getattr(batch, f"{stream}_is_known")
            embed = getattr(self, f"{stream}_embedding")
            pasts[stream] = embed(_shift(tokens[stream]), is_first, is_present, is_known)
        aligner_cache = self.aligner.start(conditions)
        fused, _ = self.aligner(pasts["speech"], pasts["background"], conditions, aligner_cache)
        x = constrain(_with_acoustics(fused, conditions), "batch", "length", "act_embed")
        script = None
        if conditions.script is not None:
            script = self.script_aligner(x, conditions.script, jnp.zeros(x.shape[0]))
            x = x + script.values
        x = jnp.concatenate([conditions.prefix, x], axis=1)  # [B, P + T, D]
        num_prefix = conditions.prefix.shape[1]
        state, _ = self.backbone(
            x,
            prefix_causal_mask(conditions.prefix_mask, num_frames, self.config.causal_prefix),
            jnp.arange(num_prefix + num_frames),
        )
        state = state[:, num_prefix:]
        acoustics_logits = None
        if self.config.num_acoustics_bins:
            context = video_context(self.aligner, conditions, aligner_cache)
            acoustics_logits = self.acoustics_head(context, batch.frame_mask)
        return ModelOutput(
            logits={stream: self.head(stream)(state, tokens[stream]) for stream in STREAMS},
            prefix=conditions.prefix,
            state=state,
            script=script,
            acoustics_logits=acoustics_logits,
        )

    def encode(self, batch: Batch) -> Conditions:
        """Encodes the conditions, which do not depend on tokens."""
        script, script_mask = self.script_encoder(batch.script_tokens, batch.script_mask, batch.has_script)
        if self.config.aligner.use_script and script.shape[1] != batch.script_tokens.shape[1]:
            raise UserError(
                f"config.model.script_encoder={self.config.script_encoder}: makes {script.shape[1]} vectors "
                f"of {batch.script_tokens.shape[1]} tokens, and the script aligner needs one of each; "
                "set config.model.aligner.use_script=false"
            )
        voice = self.speaker_encoder(batch.voice, batch.voice_mask, batch.has_voice)
        acoustics = None
        if self.config.num_acoustics_bins:
            acoustics = self.acoustics_encoder(batch.acoustics, batch.has_acoustics)
        return Conditions(
            prefix=jnp.concatenate([script, voice], axis=1),
            prefix_mask=jnp.concatenate([script_mask, jnp.ones(voice.shape[:2], bool)], axis=1),
            video=self.video_encoder(batch),
            frame_mask=batch.frame_mask,
            has_video=batch.has_video,
            has_speech=batch.has_speech,
            has_background=batch.has_background,
            acoustics=acoustics,
            script=self.script_aligner.encode(script, script_mask)
            if self.config.aligner.use_script
            else None,
        )

    def acoustics_logits(self, batch: Batch) -> jax.Array:
        """Predicts acoustics from video: float32[B, 2, V], logits over bins of both quantities."""
        conditions = self.encode(batch)
        context = video_context(self.aligner, conditions, self.aligner.start(conditions))
        return self.acoustics_head(context, batch.frame_mask)

    def start(self, conditions: Conditions) -> DecodeCache:
        """Encodes the prefix with the backbone and returns caches for `advance`."""
        batch_size, num_prefix = conditions.prefix_mask.shape
        num_frames = conditions.video.shape[1]
        cache = self.backbone.empty_cache(batch_size, num_prefix + num_frames)
        mask = prefix_causal_mask(conditions.prefix_mask, num_frames, self.config.causal_prefix)
        mask = mask[:, :num_prefix]
        _, cache = self.backbone(conditions.prefix, mask, jnp.arange(num_prefix), cache, 0)
        return DecodeCache(cache, self.aligner.start(conditions), jnp.zeros(batch_size))

    @checked
    def advance(
        self,
        conditions: Conditions,
        cache: DecodeCache,
        frame: Int[Array, ""],
        codes: Mapping[Stream, Int[Array, "B _"]],
    ) -> tuple[Float[Array, "B D"], DecodeCache]:
        """Computes the hidden state of one frame, the input of both heads.

        Args:
            conditions: from `encode`.
            cache: from `start` or the previous `advance`.
            frame: int32[], index t of the frame to predict.
            codes: by stream, int32[B, Q], codes of frame t - 1; ignored for t = 0.

        Returns:
            float[B, D], and the cache updated with frame t.
        """
        is_first = (frame == 0)[None]
        speech = self.speech_embedding(codes["speech"][:, None], is_first, conditions.has_speech)
        background = self.background_embedding(
            codes["background"][:, None], is_first, conditions.has_background
        )
        fused, aligner_cache = self.aligner(speech, background, conditions, cache.aligner, frame)
        num_prefix, num_frames = conditions.prefix.shape[1], conditions.video.shape[1]
        frames_so_far = jnp.arange(num_frames) <= frame
        frames_so_far = jnp.broadcast_to(frames_so_far, (fused.shape[0], num_frames))
        mask = jnp.concatenate([conditions.prefix_mask, frames_so_far], axis=1)[:, None, :]
        position = num_prefix + frame
        x, script_position = _with_acoustics(fused, conditions), cache.script_position
        if conditions.script is not None:
            alignment = self.script_aligner(x, conditions.script, script_position)
            x, script_position = x + alignment.values, alignment.positions[:, -1]
        state, backbone_cache = self.backbone(x, mask, position[None], cache.backbone, position)
        return state[:, 0], DecodeCache(backbone_cache, aligner_cache, script_position)


def _with_acoustics(fused: jax.Array, conditions: Conditions) -> jax.Array:
    return fused if conditions.acoustics is None else fused + conditions.acoustics[:, None]


def prefix_causal_mask(prefix_mask: jax.Array, num_frames: int, is_prefix_causal: bool = False) -> jax.Array:
    """Attention mask of a prefix followed by causal frames.

    Positions count padding of the prefix, which is masked: frame t is at position P + t whatever the length
    of the script. Training and generation have the same P.

    Args:
        prefix_mask: bool[B, P], True where the prefix is valid.
        num_frames: T.
        is_prefix_causal: the prefix is causal as well; by default its positions attend to each other.

    Returns:
        bool[B, P + T, P + T], True where a position may attend.
    """
    batch_size, num_prefix = prefix_mask.shape
    length = num_prefix + num_frames
    is_prefix = jnp.arange(length) < num_prefix
    causal = jnp.tril(jnp.ones((length, length), bool))
    valid = jnp.concatenate([prefix_mask, jnp.ones((batch_size, num_frames), bool)], axis=1)
    attended = causal if is_prefix_causal else causal | is_prefix[None, :]
    return attended[None] & valid[:, None, :]


def _shift(tokens: jax.Array) -> jax.Array:
    """Shifts by one frame: int32[B, T, Q] with frame t - 1 at position t; position 0 is unused."""
    return jnp.pad(tokens[:, :-1], ((0, 0), (1, 0), (0, 0)))


def video_context(aligner: nn.Module, conditions: Conditions, cache: Any) -> jax.Array:
    """The contribution of video to each frame; see `models.aligners.base.Aligner`.

    Args:
        aligner: a bound module.
        conditions: of the batch.
        cache: from `aligner.start`.

    Returns:
        float[B, T, D]; `conditions.video` if the aligner has no `video_context`.
    """
    if hasattr(aligner, "video_context"):
        return aligner.video_context(conditions, cache)
    return conditions.video


def make_video_encoder(config: ModelConfig) -> nn.Module:
    """The config's video encoder; as a submodule it is named "video_encoder"."""
    return VIDEO_ENCODERS.make(config.video.kind, config=config, name="video_encoder")


def make_aligner(config: ModelConfig) -> nn.Module:
    """The config's aligner; as a submodule it is named "aligner"."""
    return ALIGNERS.make(config.aligner.kind, config=config, name="aligner")


def make_model(config: Config) -> DualDub:
    """Constructs the model of a config.

    Raises:
        UserError: a part whose kind or import path cannot be resolved, or that lacks its interface.
    """
    # Linen resolves submodules on initialisation only, which may be hours later in a training run.
    model = config.model
    for slot, kind in (
        (SCRIPT_ENCODERS, model.script_encoder),
        (SPEAKER_ENCODERS, model.speaker_encoder),
        (VIDEO_ENCODERS, model.video.kind),
        (ALIGNERS, model.aligner.kind),
        (BACKBONES, model.backbone),
        *((HEADS, config.streams[stream].head) for stream in STREAMS),
    ):
        slot.find(kind)
    tokens = {}
    for stream in STREAMS:
        spec = grid_spec(config, stream)
        tokens[stream] = TokenSpec(spec.num_codebooks, spec.codebook_size, config.streams[stream].head)
    return DualDub(config.model, config.grid, **tokens)
