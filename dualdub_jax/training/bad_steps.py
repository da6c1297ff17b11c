"""Handling of bad steps: a non-finite loss or gradient, or a loss spike.

By default a non-finite loss ends the run. With `BadStepConfig.skip`, such a step leaves the state unchanged.
The decision is made on the device against a limit provided by the host, so the host need not wait. The limit
of step k depends on the losses up to step k - 2, which are on the host when step k is dispatched; it is
therefore deterministic and identical in a resumed run.
"""

import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.config import BadStepConfig

PyTree = Any  # a phase's state, batch or frozen parameters

_WINDOW = 32  # losses of the running median
_FEWEST = 8  # losses required for spike detection


class TrainingDivergedError(Exception):
    """The loss is not finite, or too many steps were skipped; the message names step and example ids."""


def skip_bad(step: Callable[..., tuple[PyTree, dict[str, jax.Array]]]) -> Callable[..., Any]:
    """Wraps a step as `f(state, batch, rng, frozen, limit)`: a loss above the limit leaves the state as is.

    Args:
        step: the step, whose metrics have "loss" and optionally "gradient_norm".

    Returns:
        The wrapped step; its metrics also have "skipped", 1.0 for a skipped step.
    """

    def guarded(
        state: PyTree, batch: PyTree, rng: jax.Array, frozen: PyTree, limit: jax.Array
    ) -> tuple[PyTree, dict[str, jax.Array]]:
        new_state, metrics = step(state, batch, rng, frozen)
        # NaN compares as False. A gradient can overflow although the loss is finite.
        is_good = (metrics["loss"] <= limit) & jnp.isfinite(metrics.get("gradient_norm", 0.0))
        state = jax.tree.map(lambda new, old: jnp.where(is_good, new, old), new_state, state)
        return state, metrics | {"skipped": 1.0 - is_good.astype(jnp.float32)}

    return guarded


class BadSteps:
    """Host-side bookkeeping: the loss limit of each step and the counts of skipped steps.

    Args:
        phase: its name, for messages.
        config: thresholds.
        state: from `state()`, for a resumed run; None for a new one.
    """

    def __init__(self, phase: str, config: BadStepConfig, state: dict[str, Any] | None):
        state = state or {"losses": [], "total": 0, "in_a_row": 0}
        self._phase, self._config = phase, config
        self._losses: list[tuple[int, float]] = [(step, loss) for step, loss in state["losses"]]
        self.total, self._in_a_row = state["total"], state["in_a_row"]

    def state(self) -> dict[str, Any]:
        """JSON state to save with the checkpoint."""
        return {"losses": self._losses, "total": self.total, "in_a_row": self._in_a_row}

    def limit(self, step: int) -> np.float32:
        """The largest accepted loss of step `step`, float32[]."""
        largest = np.finfo(np.float32).max
        known = [loss for seen, loss in self._losses if seen <= step - 2][-_WINDOW:]
        if not self._config.spike_ratio or len(known) < _FEWEST:
            return largest
        return np.float32(min(self._config.spike_ratio * statistics.median(known), largest))

    def settle(self, step: int, metrics: dict[str, float], example_ids: list[str]) -> bool:
        """Records a finished step.

        Args:
            step: its number.
            metrics: with "loss" and optionally "skipped".
            example_ids: of the batch, for messages.

        Returns:
            True if the step was skipped.

        Raises:
            TrainingDivergedError: the loss is not finite and the step was not skipped, or too many
                consecutive steps were skipped.
        """
        loss = metrics["loss"]
        if not metrics.get("skipped"):
            if not np.isfinite(loss):
                raise TrainingDivergedError(
                    f"{self._phase}: loss is {loss} at step {step}; the batch's examples: "
                    f"{', '.join(example_ids)}; --config.bad_steps.skip=true skips such steps"
                )
            self._in_a_row = 0
            # More than the median uses: the newest ones do not yet count for the next step's limit.
            self._losses = [*self._losses, (step, loss)][-_WINDOW - 2 :]
            return False
        self.total += 1
        self._in_a_row += 1
        if self._in_a_row >= self._config.max_in_a_row:
            raise TrainingDivergedError(
                f"{self._phase}: {self._in_a_row} consecutive steps were skipped, the last of them "
                f"step {step} with loss {loss}; the batch's examples: {', '.join(example_ids)}"
            )
        return True
