"""The training phase of CASP: symmetric contrastive loss on pairs of stems, AdamW, a clamped temperature.

Source: the public DualBench repository. One difference: there the contrastive loss is computed per device
over 64 pairs; here it is computed over the global batch, so it does not depend on the number of devices.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dualdub_jax.casp.model import MAX_LOG_SCALE, Casp, contrastive_loss
from dualdub_jax.casp.waveform import normalise
from dualdub_jax.config import Config, OptimizerConfig
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.training.held_out import loss_of_step
from dualdub_jax.training.optimizer import make_schedule
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.settings import settings_of
from dualdub_jax.training.state import TrainState, first_state, next_state

PyTree = Any  # parameters, or a batch of crops: nested dictionaries of arrays
Metrics = dict[str, jax.Array]

PHASE_NAME = "casp"


def casp_phase(config: Config, make_batches: Callable[[], Any], audio_encoder: PyTree | None) -> Phase:
    """Builds the training phase of CASP.

    Args:
        config: of the run; uses `casp` and `casp_training`.
        make_batches: see `Phase`; host batches as of
            `dualdub_jax.data_pipeline.stem_pairs.make_pair_batches`.
        audio_encoder: BEATs parameters that initialise the background encoder; None: random initialisation.

    Returns:
        The phase `casp`, whose parameters are those of `Casp`.

    Raises:
        UserError: a crop is longer than its window.
    """
    _check_windows(config)
    model, training = Casp(config.casp), config.casp_training
    optimizer = make_casp_optimizer(training.optimizer, training.num_steps)
    pad = config.casp.train_window_samples - config.casp.train_crop_samples

    def init(rng: jax.Array, audio_encoder: PyTree | None) -> TrainState:
        stem = jnp.zeros((1, config.casp.train_window_samples))
        params = model.init(rng, stem, stem)["params"]
        if audio_encoder is not None:
            random = params["background"]["encoder"]
            # Replaces the values inside the boxes, which keeps the logical axis names.
            boxed = nn.meta.replace_boxed(random, audio_encoder)
            params = params | {"background": params["background"] | {"encoder": boxed}}
        return first_state(params, optimizer, has_average=False)

    def prepared(waveform: jax.Array) -> jax.Array:
        return jnp.pad(normalise(constrain(waveform, "batch", None)), ((0, 0), (0, pad)))

    def step(
        state: TrainState, batch: PyTree, rng: jax.Array, frozen: None = None
    ) -> tuple[TrainState, Metrics]:
        speech, background = prepared(batch["speech"]), prepared(batch["background"])

        def loss_fn(params: PyTree) -> tuple[jax.Array, Metrics]:
            logits, out = model.apply({"params": params}, speech, background)
            loss, accuracy = contrastive_loss(logits, batch["has_both"])
            return loss, {"loss": loss, "top1": accuracy, "scale": out["scale"]}

        grads, metrics = jax.grad(loss_fn, has_aux=True)(state.params)
        state, _ = next_state(state, grads, optimizer)
        log_scale = jnp.clip(state.params["logit_scale"], -MAX_LOG_SCALE, MAX_LOG_SCALE)
        return state.replace(params=state.params | {"logit_scale": log_scale}), metrics

    phase = Phase(
        name=PHASE_NAME,
        num_steps=training.num_steps,
        settings=settings_of(
            without=("score_",),
            seed=config.seed,
            grid=config.grid,
            model=config.casp,
            training=config.casp_training,
            keys={"model": "casp", "training": "casp_training"},
        ),
        init=init,
        initial=audio_encoder,
        step=step,
        make_batches=make_batches,
        prepare=lambda batch: {name: np.asarray(value) for name, value in batch.items()},
        parameters=lambda state: state.params,
    )
    # The loss of equal batches is comparable between steps.
    return dataclasses.replace(phase, held_out=dataclasses.replace(loss_of_step(phase), marks_best=True))


def make_casp_optimizer(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """AdamW with weight decay on every parameter, norms and temperature included, as in the authors' code."""
    adamw = optax.adamw(
        make_schedule(config, num_steps),
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw) if config.clip_norm else adamw


def _check_windows(config: Config) -> None:
    sizes = dataclasses.asdict(config.casp)
    for part in ("train", "score"):
        crop, window = sizes[f"{part}_crop_samples"], sizes[f"{part}_window_samples"]
        if not 0 < crop <= window:
            raise UserError(
                f"casp.{part}_crop_samples={crop} does not fit casp.{part}_window_samples={window}; "
                "a window is a crop padded with zeros, so set the crop to 1 or more and at most the window"
            )
