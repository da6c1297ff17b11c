"""The phase "video_encoder": pre-trains the video encoder to predict both streams' codes from video alone.

Under teacher forcing, a language model needs video only for the few frames per clip that the past does not
predict, so its video encoder trains slowly. Here there is no past and no language model: linear readouts of
the video context predict the codes of every frame, and are discarded afterwards. Source: our choice; the
paper's video encoder is frozen.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from dualdub_jax.codecs.registry import grid_spec
from dualdub_jax.config import Config
from dualdub_jax.curriculum.held_out import Losses, held_out_loss
from dualdub_jax.curriculum.losses import batch_losses, total_loss
from dualdub_jax.curriculum.stage import batch_gradients, check_accumulation
from dualdub_jax.layers.basic import dense
from dualdub_jax.models.batch import example_batch
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.models.dualdub import make_aligner, make_video_encoder, video_context
from dualdub_jax.training.optimizer import make_optimizer, make_schedule
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.settings import settings_of
from dualdub_jax.training.state import TrainState, first_state, next_state
from dualdub_jax.types import STREAMS, Batch, Stream

PyTree = Any  # parameters of `VideoReadout`: nested dictionaries of arrays

PHASE_NAME = "video_encoder"
_FLIP_RATE = 0.5  # fraction of mirrored videos; their sound is unchanged
_TRAINED_PARTS = ("video_encoder", "aligner")


class VideoReadout(nn.Module):
    """The model's video encoder and aligner, with a linear readout of each stream's codes.

    Attributes:
        config: of the run.
    """

    config: Config

    def setup(self):
        model = self.config.model
        self.video_encoder = make_video_encoder(model)
        self.aligner = make_aligner(model)
        self.specs = {stream: grid_spec(self.config, stream) for stream in STREAMS}
        self.readouts = {
            stream: dense(
                spec.num_codebooks * spec.codebook_size,
                ("embed", "vocab"),
                name=f"{stream}_readout",
                dtype=model.compute_dtype,
                use_bias=True,
            )
            for stream, spec in self.specs.items()
        }

    def __call__(self, batch: Batch) -> dict[Stream, jax.Array]:
        """Logits of each stream's codes given video alone, by stream, float32[B, T, Q, V]."""
        absent = jnp.zeros_like(batch.has_video)
        prefix = jnp.zeros((len(absent), 0, self.config.model.width), self.config.model.compute_dtype)
        conditions = Conditions(
            prefix=prefix,
            prefix_mask=jnp.zeros(prefix.shape[:2], bool),
            video=self.video_encoder(batch),
            frame_mask=batch.frame_mask,
            has_video=batch.has_video,
            has_speech=absent,
            has_background=absent,
            acoustics=None,
            script=None,
        )
        context = video_context(self.aligner, conditions, self.aligner.start(conditions))
        logits = {}
        for stream, readout in self.readouts.items():
            flat = readout(context).astype(jnp.float32)
            logits[stream] = rearrange(flat, "B T (Q V) -> B T Q V", Q=self.specs[stream].num_codebooks)
        return logits


def video_encoder_phase(config: Config, make_batches: Callable[[], Any]) -> Phase:
    """The phase; its result is the model's "video_encoder", and the video path of its "aligner".

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

    def loss_fn(
        params: PyTree, batch: Batch, scored: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits = module.apply({"params": params}, batch)
        return total_loss(batch_losses(logits, batch, config.loss), config.loss, scored)

    def step(
        state: TrainState, batch: Batch, rng: jax.Array, frozen: None = None
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        batch = mirror_films(batch, rng, _FLIP_RATE)
        grads, metrics = batch_gradients(loss_fn, state.params, batch, config.gradient_accumulation_steps)
        state, norm = next_state(state, grads, optimizer, training.optimizer.ema_decay)
        return state, metrics | {"gradient_norm": norm, "learning_rate": schedule(state.step - 1)}

    def held_out_losses(state: TrainState, batch: Batch) -> Losses:
        logits = module.apply({"params": state.ema_params}, batch)
        return batch_losses(logits, batch, config.loss), logits

    return Phase(
        name=PHASE_NAME,
        num_steps=training.num_steps,
        settings=settings_of(
            seed=config.seed,
            grid=config.grid,
            video=config.model.video,
            aligner=config.model.aligner,
            width=config.model.width,
            loss=config.loss,
            codecs_from=config.codecs_from,
            training=training,
            keys={
                "video": "model.video",
                "aligner": "model.aligner",
                "width": "model.width",
                "training": "video_training",
            },
        ),
        init=init,
        initial=None,
        step=step,
        make_batches=make_batches,
        prepare=lambda fields: Batch(**fields),
        parameters=lambda state: {
            part: state.ema_params[part] for part in _TRAINED_PARTS if part in state.ema_params
        },
        held_out=held_out_loss(held_out_losses, config),
    )


def mirror_films(batch: Batch, rng: jax.Array, rate: float) -> Batch:
    """Flips each example's video horizontally with probability `rate`.

    Args:
        batch: `video` uint8[B, T, height, width, 3]; returned unchanged without it (precomputed features).
        rng: of the step.
        rate: probability.
    """
    if batch.video is None:
        return batch
    mirrored = jax.random.bernoulli(rng, rate, batch.has_video.shape)
    video = jnp.where(mirrored[:, None, None, None, None], batch.video[:, :, :, ::-1], batch.video)
    return batch.replace(video=video)
