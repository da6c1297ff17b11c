"""Both branches of the aligner: what they see, what they do not, and what switching them off means."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.config import AlignerConfig, ModelConfig
from dualdub_jax.models.aligners.grid import GridAligner, StreamAttention, VideoAttention
from dualdub_jax.models.batch import example_batch
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.models.dualdub import make_model
from tests.tiny import tiny_config

CONFIG = ModelConfig(width=16, aligner=AlignerConfig(num_heads=2, head_dim=8, max_relative_frames=4))


def _params(module, *args):
    params = nn.unbox(module.init(jax.random.key(0), *args))["params"]
    return jax.tree.map(lambda x: x + 0.1, params)


@pytest.fixture
def streams():
    keys = jax.random.split(jax.random.key(1))
    return [jax.random.normal(key, (1, 10, 16)) for key in keys]


def test_noncausal_branch_sees_both_directions_and_not_the_padding():
    aligner = VideoAttention(CONFIG)
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
    aligner = VideoAttention(CONFIG)
    video = jax.random.normal(jax.random.key(1), (2, 10, 16))
    mask, has_video = jnp.ones((2, 10), bool), jnp.array([True, False])
    params = _params(aligner, video, mask, has_video)
    out = aligner.apply({"params": params}, video, mask, has_video)
    np.testing.assert_array_equal(out[1], jnp.broadcast_to(params["null"], (10, 16)))
    assert (jnp.abs(out[0] - params["null"]).max(-1) > 1e-3).all()


def test_without_its_noncausal_branch_each_frame_sees_its_own_video_frame_only():
    sizes = dataclasses.replace(CONFIG.aligner, use_noncausal=False)
    aligner = VideoAttention(dataclasses.replace(CONFIG, aligner=sizes))
    video = jax.random.normal(jax.random.key(1), (1, 10, 16))
    mask = jnp.ones((1, 10), bool)
    has_video = jnp.ones(1, bool)
    params = _params(aligner, video, mask, has_video)
    out = aligner.apply({"params": params}, video, mask, has_video)
    changed = aligner.apply({"params": params}, video.at[:, 5].add(1.0), mask, has_video)
    np.testing.assert_array_equal(np.flatnonzero(jnp.abs(out - changed).max((0, 2)) > 1e-6), [5])


def test_mutual_branch_starts_closed(streams):
    aligner = StreamAttention(CONFIG, GridAligner(CONFIG).may_attend)
    present = jnp.ones(1, bool)
    variables = nn.unbox(aligner.init(jax.random.key(0), *streams, present, present))
    speech, background, _ = aligner.apply(variables, *streams, present, present)
    np.testing.assert_array_equal(speech, streams[0])
    np.testing.assert_array_equal(background, streams[1])


def test_mutual_branch_looks_at_the_other_streams_past(streams):
    aligner = StreamAttention(CONFIG, GridAligner(CONFIG).may_attend)
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
    assert ("attention" in params["aligner"]["noncausal"]) == use_noncausal
    assert ("causal" in params["aligner"]) == use_causal


def _conditions(**changes):
    yes = np.array([True, True])
    fields = {
        "prefix": np.zeros((2, 0, 16), np.float32),
        "prefix_mask": np.zeros((2, 0), bool),
        "video": np.random.default_rng(0).normal(size=(2, 10, 16)).astype(np.float32),
        "frame_mask": np.arange(10) < np.array([[10], [8]]),
        "has_video": yes,
        "has_speech": yes,
        "has_background": yes,
        "acoustics": None,
        "script": None,
    }
    return Conditions(**{**fields, **changes})


def _all_frames(aligner, *streams, conditions):
    return aligner(*streams, conditions, aligner.start(conditions)).fused


def test_the_result_is_the_sum_of_the_video_context_and_of_both_streams():
    aligner, conditions = GridAligner(CONFIG), _conditions()
    streams = np.random.default_rng(1).normal(size=(2, 2, 10, 16)).astype(np.float32)
    params = _params_of_all(aligner, streams, conditions)
    fused = aligner.apply(params, *streams, conditions=conditions, method=_all_frames)

    def parts(aligner):
        present = (conditions.has_speech, conditions.has_background)
        speech, background, _ = aligner.causal(*streams, *present)
        return speech + background, aligner.video_context(conditions, aligner.start(conditions))

    pasts, video = aligner.apply(params, method=parts)
    np.testing.assert_allclose(fused, pasts + video, atol=1e-5)
    assert min(np.abs(pasts).max(), np.abs(video).max()) > 0.1


def test_one_frame_at_a_time_equals_all_frames_at_once():
    aligner, conditions = GridAligner(CONFIG), _conditions(has_speech=np.array([True, False]))
    streams = np.random.default_rng(1).normal(size=(2, 2, 10, 16)).astype(np.float32)
    params = _params_of_all(aligner, streams, conditions)
    whole = aligner.apply(params, *streams, conditions=conditions, method=_all_frames)
    cache = aligner.apply(params, conditions, method="start")
    step = jax.jit(aligner.apply)
    for t in range(10):
        fused, cache = step(params, *streams[:, :, t : t + 1], conditions, cache, jnp.int32(t))
        np.testing.assert_allclose(fused[:, 0], whole[:, t], atol=1e-5)


def _params_of_all(aligner, streams, conditions):
    variables = aligner.init(jax.random.key(0), *streams, conditions=conditions, method=_all_frames)
    return jax.tree.map(lambda x: x + 0.1, nn.unbox(variables))
