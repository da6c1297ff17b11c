"""Steps that must not count: a loss or a gradient that is not finite, a loss that jumps.

By default a loss that is not finite ends the run. `BadStepConfig.skip` makes such a step leave the state as
it was: it is decided inside the step, on the device, against a limit that the host gives, so that the host
need not wait. The limit of step k is taken from the losses up to step k - 2, which the host has seen when it
sends step k: so it does not depend on timing, and a resumed run has the same ones.
"""

import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.config import BadStepConfig

PyTree = Any

_WINDOW = 32  # losses that the median is taken of
_FEWEST = 8  # below this many, no loss is a spike


class TrainingDivergedError(Exception):
    """The loss is not a number, or jumps again and again; the text names phase, step and example ids."""


def skip_bad(step: Callable[..., tuple[PyTree, dict[str, jax.Array]]]) -> Callable[..., Any]:
    """The step `f(state, batch, rng, frozen, limit)`, without effect where the loss exceeds the limit.

    Its metrics have "skipped" besides, 1.0 for a step that was.
    """

    def guarded(
        state: PyTree, batch: PyTree, rng: jax.Array, frozen: PyTree, limit: jax.Array
    ) -> tuple[PyTree, dict[str, jax.Array]]:
        new_state, metrics = step(state, batch, rng, frozen)
        # A NaN compares as False. A gradient can overflow where the loss does not.
        is_good = (metrics["loss"] <= limit) & jnp.isfinite(metrics.get("gradient_norm", 0.0))
        state = jax.tree.map(lambda new, old: jnp.where(is_good, new, old), new_state, state)
        return state, metrics | {"skipped": 1.0 - is_good.astype(jnp.float32)}

    return guarded


class BadSteps:
    """The host's side: the limit of each step, the counts, and the end of patience.

    Args:
        phase: its name, for messages.
        config: what is skipped.
        state: what `state()` gave when the run was interrupted; None at its beginning.
    """

    def __init__(self, phase: str, config: BadStepConfig, state: dict[str, Any] | None):
        state = state or {"losses": [], "total": 0, "in_a_row": 0}
        self._phase, self._config = phase, config
        self._losses: list[tuple[int, float]] = [(step, loss) for step, loss in state["losses"]]
        self.total, self._in_a_row = state["total"], state["in_a_row"]

    def state(self) -> dict[str, Any]:
        """JSON, to be saved with the checkpoint."""
        return {"losses": self._losses, "total": self.total, "in_a_row": self._in_a_row}

    def limit(self, step: int) -> np.float32:
        """The largest loss that step `step` may have, float32[]."""
        largest = np.finfo(np.float32).max
        known = [loss for seen, loss in self._losses if seen <= step - 2][-_WINDOW:]
        if not self._config.spike_ratio or len(known) < _FEWEST:
            return largest
        return np.float32(min(self._config.spike_ratio * statistics.median(known), largest))

    def settle(self, step: int, metrics: dict[str, float], example_ids: list[str]) -> bool:
        """Takes note of a step that is done; True if it was skipped.

        Raises:
            TrainingDivergedError: a loss that is not finite and was not skipped; too many skipped in a row.
        """
        loss = metrics["loss"]
        if not metrics.get("skipped"):
            if not np.isfinite(loss):
                raise TrainingDivergedError(
                    f"{self._phase}: loss is {loss} at step {step}; the batch's examples: "
                    f"{', '.join(example_ids)}; --config.bad_steps.skip=true goes on without such steps"
                )
            self._in_a_row = 0
            # One more than the median takes: the newest may be too new for the next step's limit.
            self._losses = [*self._losses, (step, loss)][-_WINDOW - 2 :]
            return False
        self.total += 1
        self._in_a_row += 1
        if self._in_a_row >= self._config.max_in_a_row:
            raise TrainingDivergedError(
                f"{self._phase}: {self._in_a_row} steps in a row were skipped, the last of them step {step} "
                f"with loss {loss}; the batch's examples: {', '.join(example_ids)}"
            )
        return True
