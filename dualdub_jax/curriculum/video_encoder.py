"""The phase "video_encoder": the encoder learns to tell from the film alone what is heard at each frame.

A language model that is trained with the true past of both streams needs the film only for what the past
does not tell, a few frames a clip, and so teaches its encoder slowly. Here there is no past: every frame's
codes are to be told by a linear readout of the video context, in a step without the language model. The
readout is thrown away. Source: our choice (the DualDub abstract asks for a curriculum that builds the
multimodal ability step by step).
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from dualdub_jax.config import Config, defaults_of, to_dict
from dualdub_jax.curriculum.losses import batch_losses, total_loss
from dualdub_jax.curriculum.stage import batch_gradients, check_accumulation
from dualdub_jax.layers.basic import dense
from dualdub_jax.models.dualdub import example_batch, make_video_aligner, make_video_encoder
from dualdub_jax.training.optimizer import make_optimizer, make_schedule
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.state import TrainState, first_state, next_state
from dualdub_jax.types import STREAMS, Batch

PyTree = Any

PHASE_NAME = "video_encoder"
_FLIP_RATE = 0.5  # of films that are mirrored: what is heard stays the same
_HANDED_ON = ("video_encoder", "video_aligner")


class VideoReadout(nn.Module):
    """Encoder and non-causal aligner of the model, and a linear readout of both streams' codes."""

    config: Config

    def setup(self):
        model = self.config.model
        self.video_encoder = make_video_encoder(model)
        self.video_aligner = make_video_aligner(model)
        codecs = {stream: getattr(self.config, f"{stream}_codec") for stream in STREAMS}
        self.readouts = {
            stream: dense(
                codec.num_codebooks * codec.codebook_size,
                ("embed", "vocab"),
                name=f"{stream}_readout",
                dtype=model.compute_dtype,
                use_bias=True,
            )
            for stream, codec in codecs.items()
        }

    def __call__(self, batch: Batch) -> dict[str, jax.Array]:
        """Logits of each stream's codes, float32[B, T, Q, V], each frame from the film alone."""
        video = self.video_encoder(batch.video, batch.frame_mask, batch.has_video)
        context = self.video_aligner(video, batch.frame_mask, batch.has_video)
        logits = {}
        for stream, readout in self.readouts.items():
            num_codebooks = getattr(self.config, f"{stream}_codec").num_codebooks
            flat = readout(context).astype(jnp.float32)
            logits[stream] = rearrange(flat, "B T (Q V) -> B T Q V", Q=num_codebooks)
        return logits


def video_encoder_phase(config: Config, make_batches: Callable[[], Any]) -> Phase:
    """The phase; its parameters are the parts "video_encoder" and "video_aligner" of the model.

    Args:
        config: of the run; `config.video_training` has the mixture and the length.
        make_batches: see `Phase`; batches are those of a curriculum stage.
    """
    training = config.video_training
    check_accumulation("video_training", training.batch_size, config)
    module = VideoReadout(config)
    optimizer = make_optimizer(training.optimizer, training.num_steps)
    schedule = make_schedule(training.optimizer, training.num_steps)

    def init(rng: jax.Array, _: None) -> TrainState:
        return first_state(module.init(rng, example_batch(config))["params"], optimizer)

    def loss_fn(params: PyTree, batch: Batch, scored: PyTree) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits = module.apply({"params": params}, batch)
        return total_loss(batch_losses(logits, batch, config.loss), config.loss, scored)

    def step(state: TrainState, batch: Batch, rng: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        batch = mirror_films(batch, rng, _FLIP_RATE)
        grads, metrics = batch_gradients(loss_fn, state.params, batch, config.gradient_accumulation_steps)
        state, norm = next_state(state, grads, optimizer, training.optimizer.ema_decay)
        return state, metrics | {"gradient_norm": norm, "learning_rate": schedule(state.step - 1)}

    return Phase(
        name=PHASE_NAME,
        num_steps=training.num_steps,
        settings=_settings(config),
        defaults=_settings(defaults_of(config)),
        init=init,
        initial=None,
        step=step,
        make_batches=make_batches,
        prepare=lambda fields: Batch(**fields),
        parameters=lambda state: {part: state.ema_params[part] for part in _HANDED_ON},
    )


def _settings(config: Config) -> dict[str, Any]:
    return {
        "seed": config.seed,
        "grid": to_dict(config.grid),
        "video": to_dict(config.model.video),
        "aligner": to_dict(config.model.aligner),
        "width": config.model.width,
        "loss": to_dict(config.loss),
        "codecs_from": config.codecs_from,
        "training": to_dict(config.video_training),
    }


def mirror_films(batch: Batch, rng: jax.Array, rate: float) -> Batch:
    """Mirrors each example's film (uint8[B, T, height, width, 3]), left to right, with probability `rate`."""
    mirrored = jax.random.bernoulli(rng, rate, batch.has_video.shape)
    video = jnp.where(mirrored[:, None, None, None, None], batch.video[:, :, :, ::-1], batch.video)
    return batch.replace(video=video)
