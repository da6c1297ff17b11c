"""What a phase trains, and one step of its optimizer and of its average: the same for all phases."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

PyTree = Any  # of parameters, and of what optax keeps for them


@flax.struct.dataclass
class TrainState:
    """All that training changes.

    Attributes:
        step: int32[], optimizer steps done in this phase.
        params: float32 tree.
        ema_params: their exponential moving average; what is evaluated and handed on. None: no average.
        opt_state: of optax.
        extra: what else a phase keeps from step to step: codebooks, a discriminator; None: nothing.
    """

    step: jax.Array
    params: PyTree
    ema_params: PyTree
    opt_state: PyTree
    extra: PyTree = None


def first_state(
    params: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    has_average: bool = True,
    extra: PyTree = None,
) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema_params=jax.tree.map(jnp.copy, params) if has_average else None,
        opt_state=optimizer.init(params),
        extra=extra,
    )


def next_state(
    state: TrainState,
    grads: PyTree,
    optimizer: optax.GradientTransformation,
    ema_decay: float = 0.0,
    extra: PyTree = None,
) -> tuple[TrainState, jax.Array]:
    """One step of the optimizer and of the average.

    Args:
        state: before the step.
        grads: float32, like its parameters.
        optimizer: of the phase.
        ema_decay: see `update_ema`; unused where the state has no average.
        extra: the state's `extra` after the step.

    Returns:
        The state after the step; float32[], the norm of `grads`.
    """
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema_params = state.ema_params
    if ema_params is not None:
        ema_params = update_ema(ema_params, params, state.step, ema_decay)
    return TrainState(state.step + 1, params, ema_params, opt_state, extra), optax.tree.norm(grads)


def update_ema(average: PyTree, params: PyTree, step: jax.Array, decay: float) -> PyTree:
    """Exponential moving average; a young one forgets faster, so that initial values do not linger.

    Args:
        average: so far.
        params: new values.
        step: int32[], steps done before this one.
        decay: what is kept of `average` a step, once it is old.
    """
    kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, p: kept * e + (1.0 - kept) * p, average, params)
