"""One curriculum stage of the language model as a phase: its state, its pure step, its batches."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from dualdub_jax.config import Config, StageConfig, to_dict
from dualdub_jax.models.dualdub import example_batch, make_model
from dualdub_jax.training.losses import batch_losses, total_loss
from dualdub_jax.training.optimizer import make_optimizer, make_schedule
from dualdub_jax.training.phase import Phase
from dualdub_jax.types import Batch

PyTree = Any


@flax.struct.dataclass
class TrainState:
    """All that training changes.

    Attributes:
        step: int32[], optimizer steps done in this stage.
        params: float32 tree.
        ema_params: their exponential moving average; what is evaluated and handed on.
        opt_state: of optax.
    """

    step: jax.Array
    params: PyTree
    ema_params: PyTree
    opt_state: PyTree


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
        initial_params: what the stage before handed on; None begins from random parameters.
    """
    model = make_model(config)
    optimizer = make_optimizer(stage.optimizer, stage.num_steps, stage.freeze)
    schedule = make_schedule(stage.optimizer, stage.num_steps)

    def init(rng: jax.Array, initial_params: PyTree | None) -> TrainState:
        params = model.init(rng, example_batch(config))["params"]
        if initial_params is not None:
            # The boxes keep the logical axis names; only their values are replaced.
            params = jax.tree.map(
                lambda box, value: box.replace_boxed(value), params, initial_params, is_leaf=_is_box
            )
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            ema_params=jax.tree.map(jnp.copy, params),
            opt_state=optimizer.init(params),
        )

    def loss_fn(params: PyTree, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits, _ = model.apply({"params": params}, batch)
        return total_loss(batch_losses(logits, batch, config.loss), config.loss)

    def step(state: TrainState, batch: Batch, rng: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        batch = drop_conditions(batch, rng, config.loss.condition_dropout_rate)
        grads, metrics = jax.grad(loss_fn, has_aux=True)(state.params, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # Young averages forget faster, so that the initial parameters do not linger.
        decay = jnp.minimum(stage.optimizer.ema_decay, (1.0 + state.step) / (10.0 + state.step))
        ema_params = jax.tree.map(lambda e, p: decay * e + (1.0 - decay) * p, state.ema_params, params)
        metrics |= {"gradient_norm": optax.global_norm(grads), "learning_rate": schedule(state.step)}
        return TrainState(state.step + 1, params, ema_params, opt_state), metrics

    return Phase(
        name=stage.name,
        num_steps=stage.num_steps,
        settings={
            "seed": config.seed,
            "grid": to_dict(config.grid),
            "model": to_dict(config.model),
            "loss": to_dict(config.loss),
            "stage": to_dict(stage),
        },
        init=init,
        initial=initial_params,
        step=step,
        make_batches=make_batches,
        prepare=lambda fields: Batch(**fields),
        parameters=lambda state: state.ema_params,
    )


def drop_conditions(batch: Batch, rng: jax.Array, rate: float) -> Batch:
    """Drops each condition of each example with probability `rate`, for classifier-free guidance.

    Source: Ho and Salimans, 2022. Conditions fall independently of one another; targets stay.
    """
    if not rate:
        return batch
    keys = jax.random.split(rng, 3)
    names = ("has_video", "has_script", "has_voice")
    kept = {
        name: getattr(batch, name) & ~jax.random.bernoulli(key, rate, batch.has_video.shape)
        for name, key in zip(names, keys, strict=True)
    }
    return batch.replace(**kept)


def _is_box(x: Any) -> bool:
    return hasattr(x, "replace_boxed")
