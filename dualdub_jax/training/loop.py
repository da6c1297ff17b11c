"""The training loop of any phase: state, batches, steps, metrics, checkpoints, exact resumption."""

import contextlib
import dataclasses
import itertools
import time
import zlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dualdub_jax.config import Config
from dualdub_jax.parallel import distributed
from dualdub_jax.parallel.mesh import AXES, batch_share, shard_batch, state_sharding
from dualdub_jax.parallel.sharding import RULES
from dualdub_jax.stores.path import StorePath
from dualdub_jax.training.bad_records import BadRecords
from dualdub_jax.training.bad_steps import BadSteps, TrainingDivergedError, skip_bad
from dualdub_jax.training.checkpoint import BestMark, PhaseCheckpoints
from dualdub_jax.training.held_out import PREFIX, HeldOut
from dualdub_jax.training.metrics import MetricWriter, TrainingProgress, to_floats
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.resume import check_length, note_finished, resume_data
from dualdub_jax.training.settings import Change, check_settings
from dualdub_jax.training.stop import StopSignals, TrainingStoppedError
from dualdub_jax.training.throughput import StallClock, Window, peak_flops

__all__ = ["TrainingDivergedError", "TrainingStoppedError", "run_phase"]

PyTree = Any  # a phase's state, parameters or batch, and shardings of the state

_NO_STEP = 2**32 - 1


def run_phase(
    phase: Phase,
    config: Config,
    mesh: Mesh,
    workdir: StorePath,
    writer: MetricWriter,
    *,
    extend: bool = False,
) -> PyTree:
    """Trains a phase to its last step, resuming from its newest checkpoint.

    The state after step k is a function of config, seed, data and mesh: a resumed run is bit-identical to an
    uninterrupted one. On another mesh, results differ in the order of summation only.

    Args:
        phase: what to run.
        config: of the run.
        mesh: of one or more devices; with several processes, over the devices of all, and every process
            calls this with the same arguments.
        workdir: of the run, on storage that all processes share, such as an object store; checkpoints are in
            `workdir/<phase.name>/`.
        writer: of metrics.
        extend: the recipe (length, schedule, batches, weights of losses) may differ from the checkpoint's;
            state and step number are kept, and the changes are written as events.

    Returns:
        The result of the phase, `phase.parameters(state)`.

    Raises:
        PeerLostError: another process has died.
        TrainingDivergedError: the loss is not finite, or too many consecutive steps were skipped.
        TrainingStoppedError: SIGTERM or SIGINT of any process, after a checkpoint was saved.
        UserError: a checkpoint with other settings or data, or of another model size, or no readable
            checkpoint; a full disk; a batch that the mesh does not divide; too many records that cannot be
            used.
    """
    rng = jax.random.fold_in(jax.random.key(config.seed), _stable_hash(phase.name))
    init_rng, step_rng = jax.random.split(rng)
    phase = dataclasses.replace(phase, frozen=_on_mesh(phase.frozen, mesh))
    with contextlib.ExitStack() as stack, jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
        # ------------------------------------------------------------------------------------- state
        # Shapes and shardings are derived abstractly, so that no device ever holds more than its shard.
        def init(rng: jax.Array, initial: PyTree) -> PyTree:
            return nn.unbox(phase.init(rng, initial))

        boxed = jax.eval_shape(phase.init, init_rng, phase.initial)
        shardings = state_sharding(boxed, mesh)
        target = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            jax.eval_shape(nn.unbox, boxed),
            shardings,
        )
        folder = workdir / phase.name
        checkpoints = PhaseCheckpoints(folder, config.checkpoint)
        changes: list[Change] = []

        def check(meta: dict[str, Any]) -> list[Change]:
            changes[:] = check_settings(meta["settings"], phase.settings, folder, extend=extend)
            return changes

        restored = checkpoints.restore(target, check, phase.scratch)
        if restored is None:
            first_step, meta = 0, {}
            if phase.num_steps:  # the first batches are made meanwhile
                batches = stack.enter_context(contextlib.closing(phase.make_batches()))
                if hasattr(batches, "start_prefetch"):
                    batches.start_prefetch()
            init_fn = jax.jit(init, out_shardings=shardings).lower(init_rng, phase.initial).compile()
            distributed.barrier("compiled init")
            state = init_fn(init_rng, phase.initial)
        else:
            first_step, state, meta = restored
            check_length(phase, first_step, changes, folder)
        if restored is None and phase.num_steps == 0:
            # Initial values that are kept: the phase is complete, and can be exported like any other.
            checkpoints.save(0, state, {"settings": phase.settings.values, "phase": phase.name})
            checkpoints.close()
        if first_step >= phase.num_steps:
            note_finished(phase, first_step, meta.get("data", {}), changes, folder)
            return phase.parameters(state)

        # ------------------------------------------------------------------------------ batches, step
        if restored is not None:
            batches = stack.enter_context(contextlib.closing(phase.make_batches()))
            resume_data(
                batches,
                meta.get("data") or batches.get_state(),  # absent from a phase that had no steps
                phase,
                first_step,
                changes,
                folder,
                writer,
                extend=extend,
                accept_changed_data=config.accept_changed_data,
            )
        # The highest fold is no step's.
        held_out = HeldOut(phase, config.held_out, mesh, batches, jax.random.fold_in(step_rng, _NO_STEP))
        bad_steps = BadSteps(phase.name, config.bad_steps, meta.get("bad_steps"))
        bad_records = BadRecords(config.bad_records, meta.get("bad_records"))
        # Compiled for the first batch of each shape, with its model FLOPs.
        step_fns: dict[Any, tuple[Callable[..., Any], float | None]] = {}

        def save(step: int, mark: BestMark | None) -> None:
            started = time.monotonic()
            meta = {"data": batches.get_state(), "settings": phase.settings.values, "phase": phase.name}
            meta |= {"bad_steps": bad_steps.state(), "bad_records": bad_records.state()}
            checkpoints.save(step, state, meta, mark)
            writer.upload()
            window.saved(time.monotonic() - started)

        def settle(step: int, example_ids: list[str], metrics: dict[str, jax.Array]) -> dict[str, float]:
            """Transfers a step's metrics to the host and checks them."""
            values = to_floats(metrics)
            if values.get("skipped") or not np.isfinite(values["loss"]):
                example_ids = list(itertools.chain(*distributed.gather_json(example_ids)))
            if bad_steps.settle(step, values, example_ids):
                details = {"loss": repr(values["loss"]), "skipped_so_far": bad_steps.total}
                writer.event(phase.name, step, "skipped", **details, example_ids=example_ids)
            window.count_tokens(values.get("tokens", 0.0))
            window.count_frames(values.pop("frames", 0.0), values.pop("frame_slots", 0.0))
            if values.pop("stop", 0.0):
                stop.is_agreed = True
            if config.bad_steps.skip:
                values["skipped"] = float(bad_steps.total)
            return values

        # --------------------------------------------------------------------------------------- loop
        progress = TrainingProgress(phase.name, phase.num_steps, first_step)
        window = Window(peak_flops(config, mesh))
        clock = StallClock()
        pending: tuple[int, list[str], dict[str, jax.Array]] | None = None
        try:
            with StopSignals() as stop:
                if jax.process_count() > 1:
                    stop.listen()  # the others wait for this process until a step is done
                for step in range(first_step, phase.num_steps):
                    batch, stalled_s = clock.next(batches)
                    batch = dict(batch)
                    window.waited(stalled_s)
                    example_ids = list(batch.pop("example_ids"))
                    bad_records.add(getattr(batches, "bad_records", ()))
                    inputs = (
                        shard_batch(phase.prepare(batch), mesh),
                        jax.random.fold_in(step_rng, step),
                        phase.frozen,
                        bad_steps.limit(step),
                        _flag(stop.requested, mesh),
                    )
                    shapes = tuple(x.shape for x in jax.tree.leaves(inputs[0]))
                    if shapes not in step_fns:  # the same on all processes
                        started = time.monotonic()
                        flops = phase.flops(inputs[0]) if phase.flops else None
                        step_fns[shapes] = compile_step(phase, config, shardings, state, *inputs), flops
                        distributed.barrier("compiled step")
                        compile_s = time.monotonic() - started
                        if len(step_fns) == 1:
                            window.begin(compile_s=compile_s, first_wait_s=stalled_s)
                            stop.listen()
                        else:
                            window.compiled(compile_s)
                    step_fn, flops = step_fns[shapes]
                    state, metrics = step_fn(state, *inputs)
                    clock.sent(metrics["loss"])
                    # Metrics of the previous step are read after dispatch of this one: no idle device.
                    if pending is not None:
                        settle(*pending)
                    pending = (step, example_ids, metrics)
                    window.count(len(example_ids) * batch_share(mesh)[1], flops)
                    done = step + 1
                    progress.advance(done)
                    checkpoints.check()
                    is_last = done == phase.num_steps
                    is_stopped = stop.is_agreed or (stop.requested and jax.process_count() == 1)
                    is_saved = is_last or is_stopped or done % config.checkpoint.save_every_steps == 0
                    is_evaluated = held_out.is_due(done) and (is_last or not is_stopped)
                    is_logged = is_last or is_evaluated or done % config.log_every_steps == 0 or done == 1
                    mark = None
                    if is_saved or is_logged:
                        # Checked before a save: the newest checkpoint must never hold a non-finite state.
                        values = settle(*pending)
                        pending = None
                        for record in bad_records.settle():
                            details = {"id": record.id, "reason": record.reason}
                            writer.event(phase.name, done, "bad_record", **details)
                        if bad_records.total:
                            values["bad_records"] = float(bad_records.total)
                        if is_evaluated:
                            values |= held_out.evaluate(state)
                            window.evaluated(held_out.seconds)
                            mark = held_out.mark(done, values)
                            best = checkpoints.best
                            if mark is not None and mark.is_better_than(best):
                                is_saved, best = True, mark
                            if best is not None:
                                values[f"{PREFIX}best_step"] = float(best.step)
                        if is_logged:
                            values |= window.close()
                            writer.write(phase.name, done, values)
                            progress.report(done, values)
                    if is_saved:
                        save(done, mark)
                    if is_stopped:
                        checkpoints.wait()
                        raise TrainingStoppedError(
                            f"stopped at step {done} of {phase.name}; saved; rerun the same command to resume"
                        )
                checkpoints.wait()
            if any(itertools.chain(*distributed.gather_json([stop.requested]))):  # during the last save
                raise TrainingStoppedError(f"stopped after {phase.name}; rerun the same command to go on")
            if (best := checkpoints.best) is not None:
                writer.event(phase.name, phase.num_steps, "best", best_step=best.step, loss=best.loss)
        except jax.errors.JaxRuntimeError as error:
            if not distributed.is_loss_of_peer(error):
                raise
            # An asynchronous save cannot complete without the lost process.
            checkpoints.abandon()
            raise distributed.PeerLostError(error) from error
        finally:
            clock.close()
            progress.close()
            held_out.close()
            checkpoints.close()
        return phase.parameters(state)


def compile_step(phase: Phase, config: Config, shardings: PyTree, state: PyTree, *inputs: Any) -> Any:
    """Compiles the train step: `f(state, batch, rng, frozen, limit, stop) -> (state, metrics)`.

    Args:
        phase: whose step.
        config: of the run; `bad_steps` is read.
        shardings: of the state, which is donated.
        state: arrays, or shapes with shardings.
        inputs: batch, rng key, frozen parameters, limit of the loss (`BadSteps.limit`), stop flag of each
            device (`_flag`); arrays or shapes.
    """
    inner = skip_bad(phase.step) if config.bad_steps.skip else lambda *args: phase.step(*args[:4])

    def step(
        state: PyTree, batch: PyTree, rng: jax.Array, frozen: PyTree, limit: jax.Array, stop: jax.Array
    ) -> tuple[PyTree, dict[str, jax.Array]]:
        state, metrics = inner(state, batch, rng, frozen, limit)
        if jax.process_count() > 1:
            # All processes read the flag of the same step, so that they stop after the same step.
            metrics = metrics | {"stop": stop.max().astype(np.float32)}
        return state, metrics

    jitted = jax.jit(step, out_shardings=(shardings, None), donate_argnums=(0,), keep_unused=True)
    return jitted.lower(state, *inputs).compile()


def _on_mesh(frozen: PyTree, mesh: Mesh) -> PyTree:
    """Host arrays, such as public weights, on all devices, so that no step transfers them."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(
        lambda x: (
            jax.make_array_from_callback(x.shape, everywhere, x.__getitem__)
            if isinstance(x, np.ndarray)
            else x
        ),
        frozen,
    )


def _flag(is_set: bool, mesh: Mesh) -> jax.Array:
    """int32[number of devices], 1 on devices of a process that received a stop signal."""
    sharding = NamedSharding(mesh, PartitionSpec(AXES))
    local = np.full(len(mesh.local_devices), is_set, np.int32)
    return jax.make_array_from_process_local_data(sharding, local)


def _stable_hash(name: str) -> int:
    """A hash that is equal in all processes, unlike Python's own."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF
