"""The phase that teaches the video encoder: what it learns from, what it hands on, and to whom."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from dualdub_jax.config import OptimizerConfig, StageConfig, VideoTrainingConfig
from dualdub_jax.curriculum.program import train
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.curriculum.video_encoder import VideoReadout, mirror_films, video_encoder_phase
from dualdub_jax.errors import UserError
from tests.tiny import random_batch, tiny_config

_OPTIMIZER = OptimizerConfig(learning_rate=1e-2, warmup_steps=1)


@pytest.fixture(scope="module")
def config():
    return tiny_config(video_training=VideoTrainingConfig(num_steps=30, optimizer=_OPTIMIZER))


@pytest.fixture(scope="module")
def trained(config):
    """Losses of 30 steps on one batch, and what the phase hands on."""
    phase = video_encoder_phase(config, make_batches=None)
    state = nn.unbox(phase.init(jax.random.key(0), None))
    batch, step = random_batch(config, 4), jax.jit(phase.step)
    losses = []
    for i in range(phase.num_steps):
        state, metrics = step(state, batch, jax.random.key(i))
        losses.append(float(metrics["loss"]))
    return losses, phase.parameters(state)


def test_it_learns_codes_from_films_alone(trained):
    losses, _ = trained
    assert losses[-1] < 0.8 * losses[0]


def test_a_later_stage_takes_what_it_made_and_keeps_the_rest(config, trained):
    _, parts = trained
    # Of the aligner, what the video reaches: the streams' attention is not in the readout's tree.
    assert set(parts) == {"video_encoder", "aligner"} and set(parts["aligner"]) == {"noncausal"}
    stage = StageConfig(name="stage", num_steps=1, use_pretrained_video_encoder=True)
    phase = stage_phase(config, stage, None, parts)
    params = nn.unbox(phase.init(jax.random.key(3), phase.initial)).params
    fresh = nn.unbox(stage_phase(config, stage, None).init(jax.random.key(3), None)).params
    flat, made, new = (traverse_util.flatten_dict(tree, sep="/") for tree in (params, parts, fresh))
    assert set(made) < set(flat) == set(new)
    for name, value in flat.items():
        np.testing.assert_array_equal(value, made.get(name, new[name]), err_msg=name)


def test_codes_are_no_input(config):
    module, batch = VideoReadout(config), random_batch(config, 2)
    params = module.init(jax.random.key(0), batch)
    other = batch.replace(
        speech_tokens=1 + jnp.zeros_like(batch.speech_tokens),
        background_tokens=1 + jnp.zeros_like(batch.background_tokens),
    )
    jax.tree.map(np.testing.assert_array_equal, module.apply(params, batch), module.apply(params, other))


def test_mirrored_films_are_the_same_films_from_right_to_left(config):
    batch = random_batch(config, 64)
    mirrored = mirror_films(batch, jax.random.key(0), 0.5).video
    as_it_was = (mirrored == batch.video).all((1, 2, 3, 4))
    turned = (mirrored == batch.video[:, :, :, ::-1]).all((1, 2, 3, 4))
    assert (as_it_was ^ turned).all()
    assert 16 < turned.sum() < 48


def test_a_stage_that_takes_it_cannot_run_before_it(tmp_path, config):
    stage = StageConfig(name="only", use_pretrained_video_encoder=True)
    with pytest.raises(UserError, match="builds on"):
        train(dataclasses.replace(config, stages=(stage,)), tmp_path, phases=["only"])
