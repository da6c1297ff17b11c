"""A second codec, as different from mel-RVQ as can be: 24 kHz, 40 frames a second, one codebook of levels.

A frame's token is the nearest of V learned levels, and its waveform a tone of that level. It proves the
contract of codecs (`codecs.base.Codec`): this file and a config are all that it takes.
"""

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from dualdub_jax.codecs.base import CodecSpec, MakeCrops, RunPhase
from dualdub_jax.config import Config, OptimizerConfig, SourceConfig
from dualdub_jax.training.optimizer import make_optimizer
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.settings import settings_of
from dualdub_jax.training.state import TrainState, first_state, next_state

TONE_HZ = 480.0  # 12 periods a frame: frames join without a step


@dataclasses.dataclass(frozen=True)
class ToyTrainingConfig:
    mixture: tuple[SourceConfig, ...] = ()
    crop_frames: int = 8
    batch_size: int = 4
    num_steps: int = 3
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=0.05)  # noqa: RUF009, a frozen dataclass


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    sample_rate_hz: int = 24_000
    frame_rate_hz: int = 40
    codebook_size: int = 8
    training: ToyTrainingConfig = ToyTrainingConfig()


class ToyCodec:
    """Implements `codecs.base.Codec`."""

    Config = ToyConfig
    latency_frames = 0

    def __init__(self, config: ToyConfig, variables: dict[str, jax.Array]) -> None:
        self.spec = self.spec_of(config)
        self._levels = jnp.asarray(variables["levels"], jnp.float32)

    @classmethod
    def spec_of(cls, config: ToyConfig) -> CodecSpec:
        return CodecSpec(config.sample_rate_hz, Fraction(config.frame_rate_hz), 1, config.codebook_size)

    @classmethod
    def init(cls, config: ToyConfig, rng: jax.Array) -> dict[str, jax.Array]:
        return {"levels": jnp.linspace(0.0, 0.7, config.codebook_size)}

    @classmethod
    def training(
        cls,
        config: Config,
        stream: str,
        make_batches: MakeCrops,
        initial: dict[str, jax.Array] | None = None,
    ) -> "ToyTraining":
        return ToyTraining(config, stream, make_batches, initial)

    def encode(self, waveform: jax.Array, frame_mask: jax.Array | None = None) -> jax.Array:
        missing = -waveform.shape[1] % self.spec.samples_per_frame
        waveform = jnp.pad(jnp.asarray(waveform), ((0, 0), (0, missing)))
        distance = jnp.abs(_levels(waveform, self.spec.samples_per_frame)[..., None] - self._levels)
        return jnp.argmin(distance, axis=-1)[..., None].astype(jnp.int32)

    def decode(
        self,
        tokens: jax.Array,
        frame_mask: jax.Array | None = None,
        conditions: Mapping[str, jax.Array] | None = None,
    ) -> jax.Array:
        levels = self._levels[jnp.asarray(tokens)[..., 0]]
        if frame_mask is not None:
            levels = jnp.where(frame_mask, levels, 0.0)
        seconds = np.arange(self.spec.samples_per_frame) / self.spec.sample_rate_hz
        tone = np.sqrt(2.0) * np.sin(2 * np.pi * TONE_HZ * seconds)
        return rearrange(levels[..., None] * tone.astype(np.float32), "B T s -> B (T s)")

    def stream(self, conditions: Mapping[str, jax.Array] | None = None, chunk_frames: int = 8) -> "ToyStream":
        return ToyStream(self)


class ToyStream:
    """Implements `codecs.base.CodecStream`: every frame is decoded as soon as it arrives."""

    def __init__(self, codec: ToyCodec) -> None:
        self._codec = codec

    def push(self, tokens: jax.Array) -> jax.Array:
        return self._codec.decode(tokens)

    def flush(self) -> jax.Array:
        return jnp.zeros((1, 0))


class ToyTraining:
    """Implements `codecs.base.CodecTraining` with one phase: levels move to those of the data."""

    decoder_phases: tuple[str, ...] = ()

    def __init__(
        self,
        config: Config,
        stream: str,
        make_batches: MakeCrops,
        initial: dict[str, jax.Array] | None,
    ) -> None:
        from dualdub_jax.codecs.registry import codec_config

        self._codec = codec_config(config, stream)
        self._initial = initial
        self._seed, self._make_batches = config.seed, make_batches
        self.encoder_phases = (f"toy_levels_{stream}",)

    def train_encoder(self, run: RunPhase) -> dict[str, jax.Array] | None:
        codec, training = self._codec, self._codec.training
        optimizer = make_optimizer(training.optimizer, training.num_steps)

        def init(rng: jax.Array, initial: dict[str, jax.Array] | None) -> TrainState:
            return first_state(initial or ToyCodec.init(codec, rng), optimizer)

        def step(state: TrainState, batch: dict, rng: jax.Array, frozen: None = None):
            levels = _levels(batch["waveform"], ToyCodec.spec_of(codec).samples_per_frame)

            def loss_fn(params: dict) -> jax.Array:
                return jnp.abs(levels[..., None] - params["levels"]).min(-1).mean()

            loss, grads = jax.value_and_grad(loss_fn)(state.params)
            return next_state(state, grads, optimizer, 0.5)[0], {"loss": loss}

        return run(
            Phase(
                name=self.encoder_phases[0],
                num_steps=training.num_steps,
                settings=settings_of(seed=self._seed, codec=codec),
                init=init,
                initial=self._initial,
                step=step,
                make_batches=lambda: self._make_batches(training.batch_size, None),
                prepare=lambda batch: {"waveform": np.asarray(batch["waveform"])},
                parameters=lambda state: state.ema_params,
            )
        )

    def train_decoder(self, run: RunPhase, variables: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return variables


def _levels(waveform: jax.Array, samples_per_frame: int) -> jax.Array:
    """float32[B, T * s] -> float32[B, T], root mean square of each frame."""
    frames = rearrange(waveform, "B (T s) -> B T s", s=samples_per_frame)
    return jnp.sqrt(jnp.mean(frames**2, axis=-1) + 1e-12)
