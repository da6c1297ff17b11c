"""A stage with frozen parameters: what they cost, that they stay, and that an export has them."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

from dualdub_jax.config import CheckpointConfig, OptimizerConfig, StageConfig
from dualdub_jax.curriculum.sources import RunSource
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.training.checkpoint import PhaseCheckpoints
from tests.tiny import random_batch, tiny_config

CONFIG = tiny_config()
STAGE = StageConfig(
    name="stage", batch_size=2, freeze=("video_encoder/.*",), optimizer=OptimizerConfig(warmup_steps=1)
)


def _first(stage):
    phase = stage_phase(CONFIG, stage, lambda: None)
    return phase, jax.jit(lambda rng: nn.unbox(phase.init(rng, None)))(jax.random.key(0))


@pytest.fixture(scope="module")
def trained():
    """Phase, first state, and the state after three steps."""
    phase, first = _first(STAGE)
    step, state = jax.jit(phase.step), first
    for number in range(3):
        state, metrics = step(state, random_batch(CONFIG, 2, seed=number), jax.random.key(number))
    assert metrics["gradient_norm"] > 0
    return phase, first, state


def test_frozen_parameters_have_no_average_and_no_optimizer_slot(trained):
    _, first, _ = trained
    assert "video_encoder" not in first.params and set(first.extra) == {"video_encoder"}
    assert jax.tree.structure(first.ema_params) == jax.tree.structure(first.params)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(first.opt_state)]
    assert paths and not any("video_encoder" in path for path in paths)


def test_frozen_parameters_stay_and_the_others_move(trained):
    phase, first, state = trained
    before, after = phase.parameters(first), phase.parameters(state)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    jax.tree.map(np.testing.assert_array_equal, before["video_encoder"], after["video_encoder"])
    moved = {name for name in before if not _equal(before[name], after[name])}
    assert {"backbone", "speech_head", "background_head"} <= moved


def test_the_first_step_is_that_of_training_everything(trained):
    """Freezing changes neither the initial values nor the loss; of the gradient only the frozen part."""
    phase, first, _ = trained
    all_phase, all_first = _first(dataclasses.replace(STAGE, freeze=()))
    assert _equal(phase.parameters(first), all_phase.parameters(all_first))
    batch, rng = random_batch(CONFIG, 2, seed=0), jax.random.key(0)
    frozen, every = (
        jax.jit(phase.step)(first, batch, rng)[1],
        jax.jit(all_phase.step)(all_first, batch, rng)[1],
    )
    np.testing.assert_allclose(frozen["loss"], every["loss"], rtol=1e-6)
    assert frozen["gradient_norm"] < every["gradient_norm"]


def test_a_checkpoint_of_the_stage_is_exported_whole(trained, tmp_path):
    phase, _, state = trained
    checkpoints = PhaseCheckpoints(tmp_path / phase.name, CheckpointConfig(use_async=False))
    checkpoints.save(3, state, {"settings": phase.settings.values})
    checkpoints.close()
    config = dataclasses.replace(CONFIG, stages=(STAGE,))
    got = RunSource(tmp_path, make_mesh(config.mesh), config=config).part("model")
    assert _equal(got, phase.parameters(state))


def _equal(left, right):
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), left, right)))
