"""Runs one phase: mesh, state, batches, steps, metrics, checkpoints. Any phase, from any interruption."""

import json
import pathlib
import signal
import time
import zlib
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from dualdub_jax.config import Config
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.mesh import shard_batch, state_sharding
from dualdub_jax.parallel.sharding import RULES
from dualdub_jax.training.checkpoint import PhaseCheckpoints
from dualdub_jax.training.metrics import MetricWriter, TrainingProgress
from dualdub_jax.training.phase import Phase

PyTree = Any


class TrainingDivergedError(Exception):
    """The loss is not a number; the text names the phase, the step and the batch's example ids."""


class TrainingStoppedError(Exception):
    """The run was asked to stop (SIGTERM or Ctrl-C) and has saved its state."""


def run_phase(
    phase: Phase, config: Config, mesh: jax.sharding.Mesh, workdir: pathlib.Path, writer: MetricWriter
) -> PyTree:
    """Trains a phase to its last step, from its newest checkpoint if there is one.

    The state of step k depends on the config, the seed and the data alone: interrupted and gone on with,
    it is the same to the bit.

    Args:
        phase: what to run.
        config: of the run.
        mesh: devices, also where there is only one.
        workdir: of the run; checkpoints go below `workdir/<phase.name>/`.
        writer: of metrics.

    Returns:
        The parameters that the phase hands on.

    Raises:
        TrainingDivergedError: the loss is NaN or infinite.
        TrainingStoppedError: on SIGTERM or SIGINT, after a checkpoint.
        UserError: a checkpoint of another model size, or one begun with other settings.
    """
    rng = jax.random.fold_in(jax.random.key(config.seed), _stable_hash(phase.name))
    init_rng, step_rng = jax.random.split(rng)
    with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
        # State: shapes and logical axes first, so that no device ever holds more than its share.
        def init(rng: jax.Array, initial: PyTree) -> PyTree:
            return nn.unbox(phase.init(rng, initial))

        shardings = state_sharding(jax.eval_shape(phase.init, init_rng, phase.initial), mesh)
        checkpoints = PhaseCheckpoints(workdir / phase.name, config.checkpoint)
        first_step = checkpoints.latest_step()
        if first_step is None:
            first_step, position = 0, None
            state = jax.jit(init, out_shardings=shardings)(init_rng, phase.initial)
        else:
            target = jax.tree.map(
                lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
                jax.eval_shape(init, init_rng, phase.initial),
                shardings,
            )
            state, meta = checkpoints.restore(target)
            _check_settings(phase, meta["settings"], workdir)
            position = meta["data"]
        if first_step >= phase.num_steps:
            checkpoints.close()
            return phase.parameters(state)

        batches = phase.make_batches()
        if position is not None:
            batches.set_state(position)
        step_fn = jax.jit(phase.step, out_shardings=(shardings, None), donate_argnames=("state",))

        def save(step: int) -> None:
            checkpoints.save(
                step, state, {"data": batches.get_state(), "settings": phase.settings, "phase": phase.name}
            )

        progress = TrainingProgress(phase.name, phase.num_steps, first_step)
        window = _Window()
        pending: tuple[int, list[str], dict[str, jax.Array]] | None = None
        try:
            with _StopSignals() as stop:
                for step in range(first_step, phase.num_steps):
                    waited = time.monotonic()
                    batch = dict(next(batches))
                    window.data_wait_s += time.monotonic() - waited
                    example_ids = list(batch.pop("example_ids"))
                    device_batch = shard_batch(phase.prepare(batch), mesh)
                    state, metrics = step_fn(state, device_batch, jax.random.fold_in(step_rng, step))
                    # The step before is looked at only now, when its successor is already on its way.
                    if pending is not None:
                        _raise_unless_finite(phase.name, *pending)
                    pending = (step, example_ids, metrics)
                    window.count(len(example_ids) * jax.process_count())
                    done = step + 1
                    progress.advance(done)
                    if done % config.log_every_steps == 0 or done == phase.num_steps or done == 1:
                        values = {name: float(value) for name, value in metrics.items()} | window.close()
                        writer.write(phase.name, done, values)
                        progress.report(done, values)
                    is_last = done == phase.num_steps
                    if is_last or stop.requested or done % config.checkpoint.save_every_steps == 0:
                        # A state that is not finite must never become the newest checkpoint.
                        _raise_unless_finite(phase.name, *pending)
                        save(done)
                    if stop.requested and not is_last:
                        raise TrainingStoppedError(
                            f"stopped at step {done} of {phase.name}; saved; run the same command to go on"
                        )
        finally:
            progress.close()
            batches.close()
            checkpoints.close()
        return phase.parameters(state)


class _Window:
    """Rates since the last log line."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._start, self._clips, self._steps = time.monotonic(), 0, 0
        self.data_wait_s = 0.0

    def count(self, clips: int) -> None:
        self._clips += clips
        self._steps += 1

    def close(self) -> dict[str, float]:
        spent = max(time.monotonic() - self._start, 1e-9)
        rates = {
            "clips_per_s": self._clips / spent,
            "step_s": spent / self._steps,
            "data_wait_s": self.data_wait_s / self._steps,
        }
        self._reset()
        return rates


class _StopSignals:
    """While active, SIGTERM or SIGINT asks for a stop after the step; a second SIGINT breaks off."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "_StopSignals":
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        except ValueError:
            # Not the main thread (a notebook server, a test runner): signals stay as they are.
            self._previous = {}
        return self

    def _handle(self, number: int, frame: Any) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _raise_unless_finite(
    phase: str, step: int, example_ids: list[str], metrics: dict[str, jax.Array]
) -> None:
    loss = float(metrics["loss"])
    if not np.isfinite(loss):
        raise TrainingDivergedError(
            f"{phase}: loss is {loss} at step {step}; the batch's examples: {', '.join(example_ids)}"
        )


def _check_settings(phase: Phase, saved: dict[str, Any], workdir: pathlib.Path) -> None:
    have, want = _flatten(saved), _flatten(json.loads(json.dumps(phase.settings)))
    for key in [*want, *have]:
        if want.get(key) != have.get(key):
            raise UserError(
                f"{workdir / phase.name}: was begun with {key}={have.get(key)}, now it is {want.get(key)}; "
                "use the same config, or another --workdir"
            )


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, list):
        tree = {str(i): value for i, value in enumerate(tree)}
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat


def _stable_hash(name: str) -> int:
    """Python's own hash changes from process to process."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF
