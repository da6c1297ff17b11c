"""The train state of all phases, and one step of its optimizer and moving average."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

PyTree = Any  # nested dictionaries of arrays (parameters, gradients), or optax state


@flax.struct.dataclass
class TrainState:
    """The state that a train step updates.

    Attributes:
        step: int32[], completed optimizer steps of this phase.
        params: trained parameters, float32.
        ema_params: their exponential moving average, the result of the phase; None: no average.
        opt_state: of optax.
        extra: further state of a phase: codebooks, a discriminator, frozen parameters; None: none.
    """

    step: jax.Array
    params: PyTree
    ema_params: PyTree
    opt_state: PyTree
    extra: PyTree = None

    @property
    def result(self) -> PyTree:
        """The moving average of the parameters, or without one the parameters."""
        return self.params if self.ema_params is None else self.ema_params


def first_state(
    params: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    has_average: bool = True,
    extra: PyTree = None,
) -> TrainState:
    """The state before the first step.

    Args:
        params: initial parameters, float32.
        optimizer: of the phase.
        has_average: keep a moving average of the parameters.
        extra: see `TrainState`.
    """
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
    """One step of optimizer and moving average.

    Args:
        state: before the step.
        grads: float32, like `state.params`.
        optimizer: of the phase.
        ema_decay: see `update_ema`; unused without an average.
        extra: `extra` of the new state.

    Returns:
        The new state, and the global norm of `grads`, float32[].
    """
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema_params = state.ema_params
    if ema_params is not None:
        ema_params = update_ema(ema_params, params, state.step, ema_decay)
    return TrainState(state.step + 1, params, ema_params, opt_state, extra), optax.tree.norm(grads)


def update_ema(average: PyTree, params: PyTree, step: jax.Array, decay: float) -> PyTree:
    """Exponential moving average with a warm-up of its decay, which removes the initial values.

    Args:
        average: previous average.
        params: new values.
        step: int32[], completed steps before this one.
        decay: asymptotic decay per step.
    """
    kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, p: kept * e + (1.0 - kept) * p, average, params)
