"""Both branches of the aligner: what they see, what they do not, and what switching them off means."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.config import AlignerConfig
from dualdub_jax.models.aligners.grid import MutualAligner, NonCausalAligner
from dualdub_jax.models.dualdub import example_batch, make_model
from tests.tiny import tiny_config

CONFIG = AlignerConfig(num_heads=2, head_dim=8, max_relative_frames=4)


def _params(module, *args):
    params = nn.unbox(module.init(jax.random.key(0), *args))["params"]
    return jax.tree.map(lambda x: x + 0.1, params)


@pytest.fixture
def streams():
    keys = jax.random.split(jax.random.key(1))
    return [jax.random.normal(key, (1, 10, 16)) for key in keys]


def test_noncausal_branch_sees_both_directions_and_not_the_padding():
    aligner = NonCausalAligner(CONFIG)
    video = jax.random.normal(jax.random.key(1), (1, 10, 16))
    mask = jnp.arange(10)[None] < 8
    has_video = jnp.ones(1, bool)
    params = _params(aligner, video, mask, has_video)
    out = aligner.apply({"params": params}, video, mask, has_video)
    changed = aligner.apply({"params": params}, video.at[:, 5].add(1.0), mask, has_video)
    assert (jnp.abs(out - changed).max((0, 2))[:8] > 1e-6).all()
    padded = aligner.apply({"params": params}, video.at[:, 8:].add(5.0), mask, has_video)
    np.testing.assert_allclose(out[:, :8], padded[:, :8], atol=1e-6)


def test_an_absent_video_is_one_null_at_every_frame():
    aligner = NonCausalAligner(CONFIG)
    video = jax.random.normal(jax.random.key(1), (2, 10, 16))
    mask, has_video = jnp.ones((2, 10), bool), jnp.array([True, False])
    params = _params(aligner, video, mask, has_video)
    out = aligner.apply({"params": params}, video, mask, has_video)
    np.testing.assert_array_equal(out[1], jnp.broadcast_to(params["null"], (10, 16)))
    assert (jnp.abs(out[0] - params["null"]).max(-1) > 1e-3).all()


def test_without_its_noncausal_branch_each_frame_sees_its_own_video_frame_only():
    aligner = NonCausalAligner(dataclasses.replace(CONFIG, use_noncausal=False))
    video = jax.random.normal(jax.random.key(1), (1, 10, 16))
    mask = jnp.ones((1, 10), bool)
    has_video = jnp.ones(1, bool)
    params = _params(aligner, video, mask, has_video)
    out = aligner.apply({"params": params}, video, mask, has_video)
    changed = aligner.apply({"params": params}, video.at[:, 5].add(1.0), mask, has_video)
    np.testing.assert_array_equal(np.flatnonzero(jnp.abs(out - changed).max((0, 2)) > 1e-6), [5])


def test_mutual_branch_starts_closed(streams):
    aligner = MutualAligner(CONFIG)
    present = jnp.ones(1, bool)
    variables = nn.unbox(aligner.init(jax.random.key(0), *streams, present, present))
    speech, background, _ = aligner.apply(variables, *streams, present, present)
    np.testing.assert_array_equal(speech, streams[0])
    np.testing.assert_array_equal(background, streams[1])


def test_mutual_branch_looks_at_the_other_streams_past(streams):
    aligner = MutualAligner(CONFIG)
    present, absent = jnp.ones(1, bool), jnp.zeros(1, bool)
    params = _params(aligner, *streams, present, present)
    speech, background = streams

    def run(speech, background, has_background=present):
        return aligner.apply({"params": params}, speech, background, present, has_background)

    out, _, _ = run(speech, background)
    changed, _, _ = run(speech, background.at[:, 6].add(1.0))
    difference = jnp.abs(out - changed).max((0, 2))
    assert (difference[:6] < 1e-6).all() and (difference[6:] > 1e-6).all()
    deaf, _, _ = run(speech, background, absent)
    deaf_changed, _, _ = run(speech, background.at[:, 6].add(1.0), absent)
    np.testing.assert_array_equal(deaf, deaf_changed)
    np.testing.assert_array_equal(deaf, speech)


@pytest.mark.parametrize("use_noncausal", [True, False])
@pytest.mark.parametrize("use_causal", [True, False])
def test_each_branch_can_be_switched_off_in_the_model(use_noncausal, use_causal):
    base = tiny_config()
    aligner = dataclasses.replace(base.model.aligner, use_noncausal=use_noncausal, use_causal=use_causal)
    config = dataclasses.replace(base, model=dataclasses.replace(base.model, aligner=aligner))
    params = jax.eval_shape(
        lambda: nn.unbox(make_model(config).init(jax.random.key(0), example_batch(config)))["params"]
    )
    assert ("attention" in params["video_aligner"]) == use_noncausal
    assert ("stream_aligner" in params) == use_causal
