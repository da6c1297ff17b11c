"""Running a phase's steps without the loop around them."""

from typing import Any

import flax.linen as nn
import jax

from dualdub_jax.training.phase import Phase


def run_steps(phase: Phase, num_steps: int) -> tuple[Any, list[dict[str, float]]]:
    """The state after so many steps from the beginning, and their metrics."""
    state = nn.unbox(jax.jit(phase.init)(jax.random.key(0), phase.initial))
    step = jax.jit(phase.step, donate_argnames=("state",))
    batches, history = phase.make_batches(), []
    for i in range(num_steps):
        key = jax.random.fold_in(jax.random.key(1), i)
        state, metrics = step(state, phase.prepare(next(batches)), key, phase.frozen)
        history.append(metrics)
    return state, [{name: float(value) for name, value in metrics.items()} for metrics in history]
