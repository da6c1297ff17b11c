"""The loop: learning, stopping, going on to the bit, refusing what does not fit."""

import contextlib
import dataclasses
import json
import os
import signal

import flax.linen as nn
import jax
import numpy as np
import pytest

from dualdub_jax.config import CheckpointConfig, MeshConfig, OptimizerConfig, StageConfig
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.training.checkpoint import PhaseCheckpoints
from dualdub_jax.training.loop import TrainingDivergedError, TrainingStoppedError, run_phase
from dualdub_jax.training.metrics import MetricWriter
from tests.tiny import random_batch, tiny_config
from tests.training.toy_phase import CONFIG as TOY_CONFIG
from tests.training.toy_phase import STAGE as TOY_STAGE
from tests.training.toy_phase import ToyBatches, toy_phase

CONFIG = tiny_config(checkpoint=CheckpointConfig(save_every_steps=3, keep_last=2), log_every_steps=1)
STAGE = StageConfig(
    name="stage", num_steps=7, batch_size=2, optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=1)
)


class CountedBatches:
    """Batch k is made from k alone; `on_batch(k)` is told; the reference voices of `spoiled` are NaN."""

    def __init__(self, num_distinct=1000, on_batch=lambda k: None, spoiled=-1):
        self._next, self._num_distinct, self._on_batch = 0, num_distinct, on_batch
        self._spoiled = spoiled

    def __next__(self):
        k, self._next = self._next, self._next + 1
        self._on_batch(k)
        batch = random_batch(CONFIG, 2, seed=k % self._num_distinct)
        if k == self._spoiled:
            batch = batch.replace(voice=np.full_like(batch.voice, np.nan))
        fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
        return fields | {"example_ids": [f"data:{k}-0", f"data:{k}-1"]}

    def get_state(self):
        return {"next": self._next}

    def set_state(self, state):
        self._next = state["next"]

    def close(self):
        pass


def _run(workdir, stage=STAGE, config=CONFIG, extend=False, **batches):
    made = []

    def make_batches():
        made.append(CountedBatches(**batches))
        return made[-1]

    writer = MetricWriter(workdir)
    try:
        phase = stage_phase(config, stage, make_batches)
        return run_phase(phase, config, make_mesh(MeshConfig()), workdir, writer, extend=extend)
    finally:
        writer.close()


def _losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines}


def _final_state(workdir):
    checkpoints = PhaseCheckpoints(workdir / "stage", CONFIG.checkpoint)
    phase = stage_phase(CONFIG, STAGE, CountedBatches)
    abstract = nn.unbox(jax.eval_shape(phase.init, jax.random.key(0), None))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), abstract)
    restored = checkpoints.restore(target)
    checkpoints.close()
    return restored.state, restored.meta


def test_loss_falls_on_one_tiny_batch(tmp_path):
    stage = dataclasses.replace(STAGE, num_steps=60)
    config = dataclasses.replace(
        CONFIG,
        loss=dataclasses.replace(CONFIG.loss, condition_dropout_rate=0.0),
        checkpoint=CheckpointConfig(save_every_steps=1000),
    )
    _run(tmp_path, stage, config, num_distinct=1)
    losses = _losses(tmp_path)
    assert losses[1] > 5.0  # two streams, ln 16 = 2.77 nats each
    assert losses[60] < 0.35 * losses[1]


def test_stopped_and_resumed_equals_uninterrupted_to_the_bit(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole_params = _run(whole)

    def stop_at_4(k):
        if k == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingStoppedError, match="step 5 of stage"):
        _run(broken, on_batch=stop_at_4)
    seen = []
    broken_params = _run(broken, on_batch=seen.append)
    assert seen == [5, 6]
    jax.tree.map(np.testing.assert_array_equal, whole_params, broken_params)
    (whole_state, whole_meta), (broken_state, broken_meta) = _final_state(whole), _final_state(broken)
    jax.tree.map(np.testing.assert_array_equal, whole_state, broken_state)
    assert whole_meta["data"] == broken_meta["data"] == {"next": 7}
    assert _losses(whole) == _losses(broken)


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path):
    whole_params = _run(tmp_path / "whole")

    class Killed(BaseException):
        pass

    def die_at_5(k):
        if k == 5:
            raise Killed

    with pytest.raises(Killed):
        _run(tmp_path / "killed", on_batch=die_at_5)
    seen = []
    params = _run(tmp_path / "killed", on_batch=seen.append)
    assert seen == [3, 4, 5, 6]
    jax.tree.map(np.testing.assert_array_equal, whole_params, params)


def test_a_finished_phase_is_not_run_again(tmp_path):
    params = _run(tmp_path)
    seen = []
    jax.tree.map(np.testing.assert_array_equal, params, _run(tmp_path, on_batch=seen.append))
    assert seen == []


def test_a_nan_loss_stops_the_run_with_step_and_example_ids(tmp_path):
    keep = dataclasses.replace(CONFIG.loss, condition_dropout_rate=0.0)
    config = dataclasses.replace(CONFIG, log_every_steps=100, loss=keep)
    with pytest.raises(TrainingDivergedError, match=r"stage: loss is nan at step 2; .* data:2-0, data:2-1"):
        _run(tmp_path, config=config, spoiled=2)
    assert not list((tmp_path / "stage").glob("[0-9]*"))


def test_other_settings_are_refused(tmp_path):
    _run(tmp_path, dataclasses.replace(STAGE, num_steps=7))
    with pytest.raises(UserError, match=r"started with --config.stage.num_steps=7, but .*=9; add --extend"):
        _run(tmp_path, dataclasses.replace(STAGE, num_steps=9))


def test_a_checkpoint_of_another_model_size_is_refused(tmp_path):
    _run(tmp_path)
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, mlp_width=64))
    with pytest.raises(UserError, match=r"with --config.model.mlp_width=48, but .*=64, which is fixed"):
        _run(tmp_path, config=config)
    with pytest.raises(UserError, match="which is fixed"):
        _run(tmp_path, config=config, extend=True)


def test_metrics_are_complete(tmp_path):
    _run(tmp_path)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    for name in ("loss_speech", "loss_background", "gradient_norm", "learning_rate", "clips_per_s"):
        assert np.isfinite(last[name])
    assert {"phase", "step", "step_s", "data_wait_s"} <= set(last)
    assert last["padding"] == 0.0
    assert list((tmp_path / "tensorboard").iterdir())


class _StartedBatches(ToyBatches):
    """Batches that note when they are started and closed."""

    is_started = is_closed = False

    def start_prefetch(self):
        self.is_started = True

    def close(self):
        self.is_closed = True


def test_batches_are_made_while_initial_values_are_compiled(tmp_path):
    batches, traced = _StartedBatches(), []

    def run(init):
        toy = toy_phase(TOY_STAGE, batches)
        phase = dataclasses.replace(toy, init=lambda rng, initial: init(toy.init(rng, initial)))
        with contextlib.closing(MetricWriter(tmp_path)) as writer:
            run_phase(phase, TOY_CONFIG, make_mesh(MeshConfig()), tmp_path, writer)

    def fail(state):
        traced.append(batches.is_started)
        if batches.is_started:
            raise MemoryError("of the compiler")
        return state

    with pytest.raises(MemoryError):
        run(fail)
    assert traced[-1] and batches.is_closed
    run(lambda state: state)
    assert batches.seen == list(range(TOY_STAGE.num_steps))
