"""The least class that each place of the system takes by import path; each says which contract it fulfils."""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.base import MakeCrops, RunPhase
from dualdub_jax.codecs.registry import codec_spec
from dualdub_jax.config import Config, GridConfig, ModelConfig
from dualdub_jax.models.aligners.base import Aligned
from dualdub_jax.models.backbone import BackboneOutput
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.settings import settings_of
from dualdub_jax.types import Batch, Stream


def _kernel(module: nn.Module, name: str, *shape: int) -> jax.Array:
    init = nn.with_logical_partitioning(nn.initializers.normal(0.1), (None,) * len(shape))
    return module.param(name, init, shape, jnp.float32)


class MeanColour(nn.Module):
    """`encoders.base.VideoEncoder`: the mean colour of each frame, projected."""

    config: ModelConfig
    inputs = ("video",)

    @nn.compact
    def __call__(self, batch: Batch) -> jax.Array:
        mean = batch.video.astype(jnp.float32).mean((2, 3)) / 255.0  # [B, T, 3]
        x = mean @ _kernel(self, "kernel", 3, self.config.width)
        return jnp.where((batch.frame_mask & batch.has_video[:, None])[..., None], x, 0.0)


class ScriptLength(nn.Module):
    """`encoders.base.ScriptEncoder`: one vector that tells nothing but the number of tokens."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, tokens: jax.Array, mask: jax.Array, has_script: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        length = (mask & has_script[:, None]).sum(1)[:, None, None].astype(jnp.float32)
        x = length * _kernel(self, "kernel", self.config.width)
        return x, jnp.ones(x.shape[:2], bool)


class MeanSpeaker(nn.Module):
    """`encoders.base.SpeakerEncoder`: one vector of the recording's level (the paper's has one, too)."""

    config: ModelConfig
    grid: GridConfig

    @nn.compact
    def __call__(self, voice: jax.Array, voice_mask: jax.Array, has_voice: jax.Array) -> jax.Array:
        mask = jnp.repeat(voice_mask, self.grid.samples_per_frame, axis=1)
        level = jnp.where(mask, jnp.abs(voice), 0.0).mean(1)[:, None, None]
        return jnp.where(has_voice[:, None, None], level, 0.0) * _kernel(self, "kernel", self.config.width)


class IndependentHead(nn.Module):
    """`models.heads.Head`: a linear layer a codebook, none conditioned on another."""

    config: ModelConfig
    num_codebooks: int
    codebook_size: int

    def setup(self):
        self.kernel = _kernel(self, "kernel", self.config.width, self.num_codebooks, self.codebook_size)

    def __call__(self, state: jax.Array, codes: jax.Array) -> jax.Array:
        return jnp.einsum("btd,dqv->btqv", state, self.kernel)

    def begin(self, state: jax.Array) -> jax.Array:
        return state

    def next_logits(self, carry: jax.Array, codebook: int) -> jax.Array:
        return carry @ self.kernel[:, codebook]

    def observe(self, carry: jax.Array, codes: jax.Array, codebook: int) -> jax.Array:
        return carry


class RunningMean(nn.Module):
    """`models.backbone.Backbone`: the mean of all positions that the mask admits, times its size `gain`."""

    config: ModelConfig
    gain: float = 1.0

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        positions: jax.Array,
        cache: jax.Array | None = None,
        cache_index: jax.Array | int | None = None,
    ) -> BackboneOutput:
        values = self.gain * (x @ _kernel(self, "kernel", self.config.width, self.config.width))
        if cache is not None:
            values = cache = jax.lax.dynamic_update_slice_in_dim(cache, values, cache_index, axis=1)
        weights = mask / jnp.maximum(mask.sum(-1, keepdims=True), 1)
        return BackboneOutput(x + jnp.einsum("bts,bsd->btd", weights, values), cache)

    def empty_cache(self, batch_size: int, length: int) -> jax.Array:
        return jnp.zeros((batch_size, length, self.config.width))


class RunningSum(nn.Module):
    """`models.aligners.base.Aligner`: the projected video, plus the sum of both pasts."""

    config: ModelConfig

    def start(self, conditions: Conditions) -> jax.Array:
        return jnp.zeros((len(conditions.has_video), self.config.width))

    @nn.compact
    def __call__(
        self,
        speech: jax.Array,
        background: jax.Array,
        conditions: Conditions,
        cache: jax.Array,
        frame: jax.Array | None = None,
    ) -> Aligned:
        past = cache[:, None] + 0.1 * jnp.cumsum(speech + background, axis=1)
        video = conditions.video
        if frame is not None:
            video = jax.lax.dynamic_slice_in_dim(video, frame, 1, axis=1)
        video = jnp.where(conditions.has_video[:, None, None], video, 0.0)
        return Aligned(
            past + video @ _kernel(self, "kernel", self.config.width, self.config.width), past[:, -1]
        )


class WordCount:
    """`text.tokenizer.Tokenizer`: every word is the same token."""

    def __init__(self, word_id: int = 1) -> None:
        self._word_id = word_id

    @property
    def vocab_size(self) -> int:
        return self._word_id + 1

    def encode(self, text: str) -> list[int]:
        return [0, *[self._word_id] * len(text.split()), 0]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join("word" for i in ids if i == self._word_id)


class BuzzDecoder:
    """`decoders.base.WaveformDecoder`: 48 kHz, `num_levels` levels learned for each entry of the codebook.

    The first of them is decoded.
    """

    sample_rate_hz = 48_000

    def __init__(
        self, config: Config, stream: Stream, variables: dict[str, jax.Array], num_levels: int = 1
    ) -> None:
        self._levels = jnp.asarray(variables["levels"])[:, 0]
        self._samples_per_frame = int(self.sample_rate_hz / config.grid.frame_rate)

    @classmethod
    def init(
        cls, config: Config, stream: Stream, rng: jax.Array, num_levels: int = 1
    ) -> dict[str, jax.Array]:
        return {"levels": jnp.zeros((codec_spec(config, stream).codebook_size, num_levels))}

    @classmethod
    def training(
        cls, config: Config, stream: Stream, make_batches: MakeCrops, num_levels: int = 1
    ) -> "BuzzTraining":
        return BuzzTraining(config, stream, make_batches, num_levels)

    def decode(
        self,
        tokens: jax.Array,
        frame_mask: jax.Array | None = None,
        conditions: Mapping[str, jax.Array] | None = None,
    ) -> jax.Array:
        levels = self._levels[jnp.asarray(tokens)[..., 0]]
        if frame_mask is not None:
            levels = jnp.where(frame_mask, levels, 0.0)
        sign = jnp.where(jnp.arange(self._samples_per_frame) % 2, -1.0, 1.0)
        return (levels[..., None] * sign).reshape(len(levels), -1)

    def open_stream(
        self, conditions: Mapping[str, jax.Array] | None = None, chunk_frames: int = 8
    ) -> "BuzzStream":
        return BuzzStream(self)


class BuzzStream:
    """`codecs.base.CodecStream`: every frame is decoded as soon as it arrives."""

    def __init__(self, decoder: BuzzDecoder) -> None:
        self._decoder = decoder

    def push(self, tokens: jax.Array) -> jax.Array:
        return self._decoder.decode(tokens)

    def flush(self) -> jax.Array:
        return jnp.zeros((1, 0))


class BuzzTraining:
    """`decoders.base.DecoderTraining`: levels move towards .25, on the frozen codec that it is given."""

    def __init__(self, config: Config, stream: Stream, make_batches: MakeCrops, num_levels: int) -> None:
        self._config, self._stream, self._make_batches = config, stream, make_batches
        self._num_levels = num_levels
        self.phases = (f"buzz_{stream}",)

    def train(self, run: RunPhase, codec_variables: dict) -> dict[str, jax.Array] | None:
        # A state of its own structure.
        def init(rng: jax.Array, _: None) -> dict[str, jax.Array]:
            return BuzzDecoder.init(self._config, self._stream, rng, self._num_levels)

        def step(state: dict[str, jax.Array], batch: dict, rng: jax.Array, frozen: dict):
            assert frozen.keys() == {"levels"}  # the codec's variables, which no state holds
            return {"levels": state["levels"] + 0.5 * (0.25 - state["levels"])}, {"loss": jnp.float32(0)}

        return run(
            Phase(
                name=self.phases[0],
                num_steps=3,
                settings=settings_of(seed=self._config.seed),
                init=init,
                initial=None,
                step=step,
                make_batches=lambda: self._make_batches(4, None),
                prepare=lambda batch: {"waveform": np.asarray(batch["waveform"])},
                parameters=lambda state: state,
                frozen=codec_variables,
            )
        )
