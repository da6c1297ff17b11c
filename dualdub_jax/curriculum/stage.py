"""One curriculum stage of the language model as a phase: state, pure train step, batches."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dualdub_jax.config import Config, StageConfig
from dualdub_jax.curriculum.held_out import Losses, held_out_loss
from dualdub_jax.curriculum.losses import (
    acoustics_loss,
    alignment_loss,
    batch_losses,
    scored_codes,
    total_loss,
)
from dualdub_jax.curriculum.microbatches import sum_over_parts
from dualdub_jax.data_pipeline.length_buckets import with_num_frames
from dualdub_jax.errors import UserError
from dualdub_jax.models.analytic_flops import has_formula, model_flops
from dualdub_jax.models.batch import example_batch
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.training.freezing import merge_frozen, split_frozen
from dualdub_jax.training.initial_values import with_values
from dualdub_jax.training.optimizer import make_optimizer, make_schedule
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.settings import settings_of
from dualdub_jax.training.state import TrainState, first_state, next_state
from dualdub_jax.types import CONDITIONS, STREAMS, Batch

PyTree = Any  # parameters or gradients: nested dictionaries of arrays
Metrics = dict[str, jax.Array]
LossFunction = Callable[[PyTree, Batch, Metrics], tuple[jax.Array, Metrics]]


def stage_phase(
    config: Config,
    stage: StageConfig,
    make_batches: Callable[[], Any],
    initial_params: PyTree | None = None,
) -> Phase:
    """The phase of one curriculum stage.

    Args:
        config: of the run.
        stage: mixture, length, freezing, learning rate.
        make_batches: see `Phase`.
        initial_params: initial values, the result of earlier phases; parameters that are not in it are
            initialised at random.
    """
    check_accumulation(f"stage {stage.name!r}", stage.batch_size, config)
    model = make_model(config)
    optimizer = make_optimizer(stage.optimizer, stage.num_steps)
    schedule = make_schedule(stage.optimizer, stage.num_steps)

    def init(rng: jax.Array, initial_params: PyTree | None) -> TrainState:
        params = model.init(rng, example_batch(config))["params"]
        # Frozen parameters have no gradient, average or optimizer slot; one copy makes checkpoints complete.
        trained, frozen = split_frozen(with_values(params, initial_params), stage.freeze)
        has_average = stage.optimizer.ema_decay > 0
        return first_state(trained, optimizer, has_average=has_average, extra=frozen)

    def losses_of(params: PyTree, batch: Batch) -> Losses:
        output = model.apply({"params": params}, batch)
        losses = batch_losses(output.logits, batch, config.loss)
        if output.script is not None:
            losses["alignment"] = alignment_loss(output.script.log_weights, batch)
        if output.acoustics_logits is not None:
            losses["acoustics"] = acoustics_loss(output.acoustics_logits, batch)
        return losses, output.logits

    def step(
        state: TrainState, batch: Batch, rng: jax.Array, frozen: None = None
    ) -> tuple[TrainState, Metrics]:
        batch = drop_conditions(batch, rng, config.loss.condition_dropout_rate)
        batch = mask_past(batch, rng, config.loss.past_dropout_rate)

        def loss_fn(trained: PyTree, batch: Batch, scored: Metrics) -> tuple[jax.Array, Metrics]:
            losses, _ = losses_of(merge_frozen(trained, state.extra), batch)
            return total_loss(losses, config.loss, scored)

        grads, metrics = batch_gradients(loss_fn, state.params, batch, config.gradient_accumulation_steps)
        state, norm = next_state(state, grads, optimizer, stage.optimizer.ema_decay, state.extra)
        metrics |= {"gradient_norm": norm, "learning_rate": schedule(state.step - 1)}
        slots = jnp.float32(batch.frame_mask.size)
        return state, metrics | {"frames": batch.frame_mask.sum().astype(jnp.float32), "frame_slots": slots}

    def held_out_losses(state: TrainState, batch: Batch) -> Losses:
        return losses_of(merge_frozen(state.result, state.extra), batch)

    def flops(batch: Batch) -> float:
        num_rows, num_frames = batch.frame_mask.shape
        return model_flops(with_num_frames(config, num_frames), num_rows)

    return Phase(
        name=stage.name,
        num_steps=stage.num_steps,
        # Without mesh and microbatches, which may change on resuming.
        settings=settings_of(
            seed=config.seed,
            grid=config.grid,
            model=config.model,
            loss=config.loss,
            codecs_from=config.codecs_from,
            train_codecs=list(config.train_codecs),
            model_from=config.model_from,
            init_from=config.init_from,
            stage=stage,
            keys={"stage": stage_key(config, stage.name)},
        ),
        init=init,
        initial=initial_params,
        step=step,
        make_batches=make_batches,
        prepare=lambda fields: Batch(**fields),
        parameters=lambda state: merge_frozen(state.result, state.extra),
        held_out=held_out_loss(held_out_losses, config),
        flops=flops if has_formula(config) else None,
    )


def stage_key(config: Config, name: str) -> str:
    """Key of a stage in the config, such as "stages.2"; "stage" for one that is not in it."""
    names = [stage.name for stage in config.stages]
    return f"stages.{names.index(name)}" if name in names else "stage"


def batch_gradients(
    loss_fn: LossFunction, params: PyTree, batch: Batch, num_parts: int = 1
) -> tuple[PyTree, Metrics]:
    """Gradients and metrics of a batch, accumulated over microbatches.

    Losses of microbatches are normalised by the number of scored codes of the whole batch, so that their sum
    equals the loss of the batch, also if the numbers of scored codes differ.

    Args:
        loss_fn: `loss_fn(params, batch, scored) -> (loss, metrics)`, as `total_loss`.
        params: float32 tree.
        batch: the whole batch.
        num_parts: number of microbatches, of equal numbers of examples.

    Returns:
        Gradients, like `params`; metrics, with "tokens", the number of scored codes.
    """
    scored = scored_codes(batch)
    gradients = jax.grad(loss_fn, has_aux=True)
    grads, metrics = sum_over_parts(lambda part: gradients(params, part, scored), batch, num_parts)
    return grads, metrics | {"tokens": sum(scored[stream] for stream in STREAMS)}


def check_accumulation(where: str, batch_size: int, config: Config) -> None:
    """Checks that the batch divides into the config's number of microbatches.

    Args:
        where: the stage or phase, for the message.
        batch_size: of the whole batch.
        config: of the run.

    Raises:
        UserError: it does not.
    """
    num_parts = config.gradient_accumulation_steps
    if num_parts < 1 or batch_size % num_parts:
        raise UserError(
            f"{where}: batch_size {batch_size} is not a multiple of gradient_accumulation_steps {num_parts}"
        )


def drop_conditions(batch: Batch, rng: jax.Array, rate: float) -> Batch:
    """Drops each condition of each example independently with probability `rate`.

    Trains the unconditional model of classifier-free guidance. Source: Ho and Salimans (2022).

    Args:
        batch: of B examples; targets are unchanged.
        rng: of the step.
        rate: probability; 0: returns the batch unchanged.
    """
    if not rate:
        return batch
    names = [f"has_{part}" for part in CONDITIONS]
    keys = jax.random.split(rng, len(names))
    kept = {
        name: getattr(batch, name) & ~jax.random.bernoulli(key, rate, batch.has_video.shape)
        for name, key in zip(names, keys, strict=True)
    }
    return batch.replace(**kept)


def mask_past(batch: Batch, rng: jax.Array, rate: float) -> Batch:
    """Masks random frames of the past, so that predictions depend on script and video.

    Source: word dropout (Bowman et al., 2016), with a random rate per example.

    Args:
        batch: of B examples with T frames.
        rng: of the step.
        rate: probability that a stream of an example is masked; the fraction of masked frames is then uniform
            in [0, 1). 0: returns the batch unchanged.
    """
    if not rate:
        return batch
    known = {}
    for stream, key in zip(STREAMS, jax.random.split(jax.random.fold_in(rng, 1), len(STREAMS)), strict=True):
        chosen_key, fraction_key, frames_key = jax.random.split(key, 3)
        column = (len(batch.has_video), 1)
        fraction = jax.random.uniform(fraction_key, column) * jax.random.bernoulli(chosen_key, rate, column)
        known[f"{stream}_is_known"] = jax.random.uniform(frames_key, batch.frame_mask.shape) >= fraction
    return batch.replace(**known)
