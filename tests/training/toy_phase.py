"""A phase that compiles in a moment, linear regression, on batches whose description can be changed."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.config import CheckpointConfig, Config, MeshConfig, OptimizerConfig, StageConfig
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.training.held_out import HeldOutSet, HeldOutSets
from dualdub_jax.training.loop import run_phase
from dualdub_jax.training.metrics import MetricWriter
from dualdub_jax.training.optimizer import make_optimizer, make_schedule
from dualdub_jax.training.phase import HeldOutLoss, Phase
from dualdub_jax.training.settings import settings_of
from dualdub_jax.training.state import first_state, next_state

CONFIG = Config(
    checkpoint=CheckpointConfig(save_every_steps=3, keep_last=2, use_async=False), log_every_steps=1
)
STAGE = StageConfig(
    name="toy", num_steps=6, batch_size=4, optimizer=OptimizerConfig(learning_rate=0.1, warmup_steps=1)
)
DATA = {"films": (7, "aaaa"), "plays": (3, "bbbb")}


class ToyBatches:
    """Batch k is made from k, the batch size and the data; `seen` lists the numbers of the batches."""

    def __init__(self, batch_size=4, data=None, stop_at=None, held_out=None):
        self._held_out = held_out or {}
        self._batch_size, self._data, self._stop_at = batch_size, DATA if data is None else data, stop_at
        self._next, self.seen = 0, []

    def __next__(self):
        k, self._next = self._next, self._next + 1
        if k == self._stop_at:
            raise KeyboardInterrupt
        self.seen.append(k)
        seed = [k, self._batch_size, *(clips for clips, _ in self._data.values())]
        return {
            "x": rows(seed, self._batch_size),
            "example_ids": [f"films:{k}-{row}" for row in range(self._batch_size)],
        }

    def get_state(self) -> dict[str, Any]:
        stream = {
            "batch_size": self._batch_size,
            "mixture": [[name, 1 / len(self._data), clips] for name, (clips, _) in self._data.items()],
            "fingerprints": {name: fingerprint for name, (_, fingerprint) in self._data.items()},
        }
        return {"next_batch": self._next, "stream": json.loads(json.dumps(stream))}

    def set_state(self, state):
        assert state["stream"] == self.get_state()["stream"]
        self._next = state["next_batch"]

    def held_out(self, num_clips):
        """Two sets of two batches, unless `held_out_data` is empty; the second weighs three times as much."""
        sets = [
            HeldOutSet(name, weight, FiniteBatches([100 * number, 100 * number + 1], num_clips))
            for number, (name, weight) in enumerate(self._held_out.items(), 1)
        ]
        return HeldOutSets(sets, [name for name in self._data if name not in self._held_out])

    def close(self):
        pass


class FiniteBatches:
    """Batches of some numbers."""

    def __init__(self, numbers, num_clips):
        self._numbers, self._num_clips, self._next = numbers, num_clips, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self._next == len(self._numbers):
            raise StopIteration
        self._next += 1
        return {"x": rows(self._numbers[self._next - 1], self._num_clips), "example_ids": []}

    def get_state(self):
        return {"next_batch": self._next, "stream": {"numbers": self._numbers}}

    def set_state(self, state):
        self._next = state["next_batch"]

    def close(self):
        pass


def rows(seed, num_rows):
    return np.random.default_rng(seed).normal(size=(num_rows, 3)).astype(np.float32)


def toy_loss(kernel, x):
    """Mean squared error of a linear prediction of each row's sum."""
    return jnp.mean((x @ kernel - x.sum(1, keepdims=True)) ** 2)


def toy_phase(stage: StageConfig, batches: Any, width: int = 3, config: Config = CONFIG) -> Phase:
    optimizer = make_optimizer(stage.optimizer, stage.num_steps)
    schedule = make_schedule(stage.optimizer, stage.num_steps)

    def init(rng, _):
        params = {"kernel": jax.random.normal(rng, (width, 1))}
        return first_state(params, optimizer, extra={"recent": jnp.zeros((stage.batch_size, width))})

    def step(state, batch, rng, frozen=None):
        noise = 0.1 * jax.random.normal(rng, batch["x"].shape)

        def loss_fn(params):
            return toy_loss(params["kernel"], batch["x"] + noise)

        loss, grads = jax.value_and_grad(loss_fn)(state.params)
        extra = {"recent": batch["x"]}
        state, _ = next_state(state, grads, optimizer, stage.optimizer.ema_decay, extra)
        return state, {"loss": loss, "learning_rate": schedule(state.step - 1)}

    def measure(state, batch, rng, frozen):
        num_rows = jnp.float32(len(batch["x"]))
        return jnp.stack([toy_loss(state.params["kernel"], batch["x"]) * num_rows, num_rows])

    return Phase(
        name=stage.name,
        num_steps=stage.num_steps,
        settings=settings_of(seed=config.seed, width=width, stage=stage, keys={"stage": "stages.1"}),
        init=init,
        initial=None,
        step=step,
        make_batches=lambda: batches,
        prepare=lambda fields: fields,
        parameters=lambda state: state.params,
        scratch=("extra/recent",),
        held_out=HeldOutLoss(measure, lambda sums: {"loss": sums[0] / sums[1]}, marks_best=True),
    )


def run_toy(workdir, stage=STAGE, config=CONFIG, extend=False, width=3, batches=None, **options):
    """Trains the phase; returns its parameters and the numbers of the batches that it read."""
    batches = batches or ToyBatches(stage.batch_size, **options)
    writer = MetricWriter(workdir)
    try:
        phase = toy_phase(stage, batches, width, config)
        params = run_phase(phase, config, make_mesh(MeshConfig()), workdir, writer, extend=extend)
    finally:
        writer.close()
    return np.asarray(params["kernel"]), batches.seen


def interrupt_toy(workdir, step, **options):
    """Trains up to a step, and loses what came after the last checkpoint."""
    try:
        run_toy(workdir, stop_at=step, **options)
    except KeyboardInterrupt:
        return
    raise AssertionError("was not interrupted")


def metrics_of(workdir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def events_of(workdir) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def with_optimizer(stage: StageConfig, **changes: Any) -> StageConfig:
    return dataclasses.replace(stage, optimizer=dataclasses.replace(stage.optimizer, **changes))
