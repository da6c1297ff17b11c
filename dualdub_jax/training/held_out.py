"""The held-out loss of a phase: fixed batches of other splits, measured during training.

Evaluation reads iterators of its own and a fixed rng, and its program does not update the state, so training
with and without it gives bit-identical parameters.
"""

import functools
import hashlib
import json
import time
from collections import defaultdict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dualdub_jax.config import HeldOutConfig
from dualdub_jax.parallel import distributed
from dualdub_jax.parallel.mesh import shard_batch
from dualdub_jax.training.checkpoint import BestMark
from dualdub_jax.training.phase import HeldOutLoss, Phase

PyTree = Any  # a phase's state, or sums of a batch

PREFIX = "eval/"
# Of a step alone, not of its batch; without them, the program has no gradient.
_OF_THE_STEP = ("gradient_norm", "learning_rate", "tokens", "frames", "frame_slots")


class HeldOutSet(NamedTuple):
    """The held-out clips of one dataset of a mixture.

    Attributes:
        task: name of the dataset.
        weight: its share in the mixture.
        batches: a finite iterator, as `Phase.make_batches`.
    """

    task: str
    weight: float
    batches: Any


class HeldOutSets(NamedTuple):
    """Held-out sets of a mixture, and the names of its datasets without a held-out split."""

    sets: list[HeldOutSet]
    missing: list[str]


class HeldOut:
    """Measures the held-out loss of one phase. Every process must call the same methods in the same order.

    Args:
        phase: of the run.
        config: interval and number of clips.
        mesh: of the run.
        batches: the phase's iterator; `held_out(num_clips) -> HeldOutSets` opens its held-out sets. Iterators
            without it have none.
        frozen_rng: key of the evaluation, the same at every step.

    Raises:
        UserError: a held-out split that the config names does not exist.
    """

    def __init__(self, phase: Phase, config: HeldOutConfig, mesh: Mesh, batches: Any, frozen_rng: jax.Array):
        self._phase, self._every_steps, self._mesh, self._rng = phase, config.every_steps, mesh, frozen_rng
        self._loss = phase.held_out or loss_of_step(phase)
        self._sets: list[HeldOutSet] = []
        self._bad: set[str] = set()  # ids
        self._measure: Any = None  # compiled for the first batch
        self.seconds = 0.0  # of the newest evaluation
        if not config.every_steps or not hasattr(batches, "held_out"):
            return
        self._sets, missing = batches.held_out(config.num_clips)
        self._starts = [each.batches.get_state() for each in self._sets]
        if missing and distributed.is_first():
            print(
                f"{phase.name}: no held-out loss of {', '.join(missing)}, without a split validation, val or "
                "test; `held_out_split` of a mixture's entry names another",
                flush=True,
            )

    def is_due(self, step: int) -> bool:
        """Whether to evaluate after `step` completed steps: at multiples of the interval, and at the end."""
        return bool(self._sets) and (step % self._every_steps == 0 or step == self._phase.num_steps)

    def evaluate(self, state: PyTree) -> dict[str, float]:
        """The metrics "eval/loss", … over all tasks by weight, and "eval/<task>/loss", … of each."""
        started = time.monotonic()
        metrics: dict[str, float] = {}
        weighted: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for each, start in zip(self._sets, self._starts, strict=True):
            values = self._loss.summarise(self._sums(state, each.batches))
            each.batches.set_state(start)
            for name, value in values.items():
                metrics[f"{PREFIX}{each.task}/{name}"] = value
                weighted[name].append((each.weight, value))
        for name, pairs in weighted.items():
            total = sum(weight for weight, _ in pairs)
            metrics[PREFIX + name] = sum(weight * value for weight, value in pairs) / total
        self.seconds = time.monotonic() - started
        return metrics

    def mark(self, step: int, metrics: dict[str, float]) -> BestMark | None:
        """A candidate for the best step; None if the phase's losses of different steps are not comparable."""
        loss = metrics.get(f"{PREFIX}loss", np.nan)
        return BestMark(step, loss, self._digest()) if self._loss.marks_best and np.isfinite(loss) else None

    def close(self) -> None:
        for each in self._sets:
            each.batches.close()

    def _sums(self, state: PyTree, batches: Any) -> PyTree:
        """Float64 sums over all batches."""
        total = None
        for batch in batches:
            self._name_bad(batches)
            batch = {name: value for name, value in batch.items() if name != "example_ids"}
            inputs = (shard_batch(self._phase.prepare(batch), self._mesh), self._rng, self._phase.frozen)
            if self._measure is None:
                # Replicated, so that every process can read the sums.
                replicated = NamedSharding(self._mesh, PartitionSpec())
                jitted = jax.jit(self._loss.measure, out_shardings=replicated)
                self._measure = jitted.lower(state, *inputs).compile()
                distributed.barrier("compiled evaluation")
            sums = jax.tree.map(lambda x: np.asarray(x, np.float64), self._measure(state, *inputs))
            total = sums if total is None else jax.tree.map(np.add, total, sums)
        return total

    def _name_bad(self, batches: Any) -> None:
        """Prints each held-out record that cannot be used, and for which another one stands, once."""
        for record in getattr(batches, "bad_records", ()):
            if record.id not in self._bad:
                self._bad.add(record.id)
                print(f"{self._phase.name}: held-out {record.id} is replaced: {record.reason}", flush=True)

    @functools.cache  # noqa: B019 - lives as long as the phase
    def _digest(self) -> str:
        """Identifies what the loss is measured on, and how its terms are weighted."""
        weights = self._phase.settings.values.get("loss")
        text = json.dumps([weights, *(start["stream"] for start in self._starts)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def loss_of_step(phase: Phase) -> HeldOutLoss:
    """The metrics of a phase's step, with averaged parameters if it has them, and without its update."""

    def measure(state: PyTree, batch: PyTree, rng: jax.Array, frozen: PyTree) -> dict[str, jax.Array]:
        if getattr(state, "ema_params", None) is not None:
            state = state.replace(params=state.ema_params)
        _, metrics = phase.step(state, batch, rng, frozen)
        return {
            name: jnp.stack([value, jnp.ones_like(value)])
            for name, value in metrics.items()
            if name not in _OF_THE_STEP
        }

    def summarise(sums: dict[str, np.ndarray]) -> dict[str, float]:
        return {name: float(total / count) for name, (total, count) in sums.items()}

    return HeldOutLoss(measure, summarise)
