"""The aligner kind "paper": causality, one frame at a time, each attention, what is absent."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.models.aligners.paper import ATTENTIONS, PaperAligner
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.models.dualdub import make_model
from tests.tiny import random_batch, random_params, tiny_config

TINY = tiny_config()


def _config(kind="paper", **sizes):
    aligner = dataclasses.replace(TINY.model.aligner, kind=kind, **sizes)
    return dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, aligner=aligner))


MODEL = _config().model
NUM_FRAMES, WIDTH = 10, TINY.model.width


def _conditions(seed=0, **changes):
    video = np.random.default_rng(seed).normal(size=(2, NUM_FRAMES, WIDTH)).astype(np.float32)
    yes = np.array([True, True])
    fields = {
        "prefix": np.zeros((2, 0, WIDTH), np.float32),
        "prefix_mask": np.zeros((2, 0), bool),
        "video": video,
        "frame_mask": np.arange(NUM_FRAMES) < np.array([[NUM_FRAMES], [NUM_FRAMES - 2]]),
        "has_video": yes,
        "has_speech": yes,
        "has_background": yes,
        "acoustics": None,
        "script": None,
    }
    return Conditions(**{**fields, **changes})


@pytest.fixture(scope="module")
def streams():
    return np.random.default_rng(1).normal(size=(2, 2, NUM_FRAMES, WIDTH)).astype(np.float32)


@functools.cache
def _params(**sizes):
    """Of the kind with `sizes`, every array perturbed: no bias or projection is zero."""
    aligner = PaperAligner(MODEL, **sizes)
    speech = jnp.zeros((2, NUM_FRAMES, WIDTH))
    whole = lambda module: module(speech, speech, _conditions(), module.start(_conditions()))  # noqa: E731
    params = nn.unbox(aligner.init(jax.random.key(0), method=whole))
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(2)
    return jax.tree.unflatten(tree, [leaf + 0.1 * rng.normal(size=leaf.shape).astype("f") for leaf in leaves])


@pytest.fixture(scope="module", params=["rotary", "relative"])
def params(request):
    return _params(positions=request.param)


def _fuse(params, streams, conditions, model=MODEL, **sizes):
    if "time_bias" in params["params"]["attend_speech_from_video"]:
        sizes = {"positions": "relative", **sizes}
    aligner = PaperAligner(model, **sizes)
    cache = aligner.apply(params, conditions, method="start")
    return np.asarray(aligner.apply(params, *streams, conditions, cache).fused)


def _moved(before, after):
    """Frames of the first example that differ."""
    return list(np.flatnonzero(np.abs(after - before)[0].max(axis=-1) > 1e-6))


@pytest.mark.parametrize("stream", [0, 1])
def test_a_future_frame_of_either_stream_changes_nothing_before_it(streams, params, stream):
    changed = streams.copy()
    changed[stream, :, 4] += 1.0
    before, after = (_fuse(params, each, _conditions()) for each in (streams, changed))
    assert _moved(before, after) == list(range(4, NUM_FRAMES))


def test_a_future_frame_of_the_video_changes_every_frame(streams, params):
    conditions = _conditions()
    video = conditions.video.copy()
    video[:, 7] += 1.0
    before, after = (
        _fuse(params, streams, conditions),
        _fuse(params, streams, conditions.replace(video=video)),
    )
    assert _moved(before, after) == list(range(NUM_FRAMES))


def test_frames_outside_the_clip_and_an_absent_video_are_not_attended_to(streams, params):
    conditions = _conditions()
    video = conditions.video.copy()
    video[1, -2:] = np.nan  # outside the second clip
    np.testing.assert_array_equal(
        _fuse(params, streams, conditions.replace(video=np.nan_to_num(video, nan=3.0))),
        _fuse(params, streams, conditions),
    )
    absent = conditions.replace(has_video=np.array([False, True]))
    other = absent.replace(video=conditions.video + np.float32([[[5.0]], [[0.0]]]))
    np.testing.assert_array_equal(_fuse(params, streams, absent), _fuse(params, streams, other))


def test_an_absent_stream_adds_nothing_and_is_not_attended_to(streams, params):
    absent = _conditions(has_speech=np.array([False, True]))
    changed = streams.copy()
    changed[0, 0] += 1.0
    np.testing.assert_array_equal(_fuse(params, streams, absent), _fuse(params, changed, absent))


@pytest.mark.parametrize("name", ATTENTIONS)
def test_each_attention_can_be_switched_off_and_leaves_its_residual(streams, params, name):
    conditions = _conditions()
    off = dict.fromkeys(ATTENTIONS, False)
    residuals = _fuse(params, streams, conditions, **off)
    np.testing.assert_allclose(residuals, 2 * streams.sum(0), atol=1e-5)
    whole = _fuse(params, streams, conditions)
    without = _fuse(params, streams, conditions, **{name: False})
    alone = _fuse(params, streams, conditions, **off | {name: True})
    assert np.abs(alone - residuals).max() > 0.1
    np.testing.assert_allclose(without + alone - residuals, whole, atol=1e-5)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_an_attention_that_is_switched_off_has_no_parameters(name):
    whole, without = (set(_params(**sizes)["params"]) for sizes in ({}, {name: False}))
    assert whole - without == {f"attend_{name}"}


@pytest.mark.parametrize(("switch", "is_causal"), [("use_causal", True), ("use_noncausal", False)])
def test_the_configs_switches_stand_for_two_attentions_each(streams, params, switch, is_causal):
    pair = [name for name, causal in ATTENTIONS.items() if causal == is_causal]
    np.testing.assert_array_equal(
        _fuse(params, streams, _conditions(), _config(**{switch: False}).model),
        _fuse(params, streams, _conditions(), **dict.fromkeys(pair, False)),
    )


def test_an_absent_video_equals_a_video_of_zeros(streams, params):
    conditions = _conditions()
    absent = conditions.replace(has_video=np.array([False, False]))
    zeros = conditions.replace(video=np.zeros_like(conditions.video))
    np.testing.assert_allclose(_fuse(params, streams, absent), _fuse(params, streams, zeros), atol=1e-6)


def test_attentions_that_start_at_zero_are_none_before_training(streams):
    sizes = {"starts_at_zero": True}
    aligner = PaperAligner(MODEL, **sizes)
    whole = lambda module: module(*streams, _conditions(), module.start(_conditions()))  # noqa: E731
    params = nn.unbox(aligner.init(jax.random.key(0), method=whole))
    np.testing.assert_allclose(_fuse(params, streams, _conditions(), **sizes), 2 * streams.sum(0), atol=1e-5)

    def loss(params):
        fused = aligner.apply(params, method=whole).fused
        return jnp.square(fused - 1.0).sum()

    gradients = jax.grad(loss)(params)["params"]
    for name in ATTENTIONS:  # so that they begin to learn
        assert np.abs(gradients[f"attend_{name}"]["out"]["kernel"]).max() > 0.01


def test_the_video_frame_can_be_added_to_each_fused_frame(streams, params):
    conditions = _conditions(has_video=np.array([False, True]))
    added = _fuse(params, streams, conditions, adds_video=True) - _fuse(params, streams, conditions)
    np.testing.assert_allclose(added[1], conditions.video[1], atol=1e-5)
    assert not added[0].any()


@pytest.mark.parametrize("sizes", [{}, {"adds_video": True, "background_from_video": False}])
def test_one_frame_at_a_time_equals_all_frames_at_once(streams, params, sizes):
    conditions = _conditions(has_background=np.array([True, False]))
    if "time_bias" in params["params"]["attend_speech_from_video"]:
        sizes = {"positions": "relative", **sizes}
    aligner = PaperAligner(MODEL, **sizes)
    whole = _fuse(params, streams, conditions, **sizes)
    cache = aligner.apply(params, conditions, method="start")
    step = jax.jit(aligner.apply)
    for t in range(NUM_FRAMES):
        fused, cache = step(params, *streams[:, :, t : t + 1], conditions, cache, jnp.int32(t))
        np.testing.assert_allclose(fused[:, 0], whole[:, t], atol=1e-5)


def test_other_positions_are_refused():
    with pytest.raises(UserError, match=r"positions='absolute' is none of rotary, relative"):
        _params(positions="absolute")


def test_the_whole_model_decodes_with_it_as_it_trains():
    config = _config("paper(positions='relative', speech_from_video=False)")
    params, batch, model = random_params(config), random_batch(config, 2), make_model(config)
    variables = {"params": params}
    output = jax.jit(model.apply)(variables, batch)
    conditions = model.apply(variables, batch, method="encode")
    cache = model.apply(variables, conditions, method="start")
    advance = jax.jit(lambda *args: model.apply(variables, *args, method="advance"))
    previous = {"speech": batch.speech_tokens[:, 0] * 0, "background": batch.background_tokens[:, 0] * 0}
    for t in range(config.grid.num_frames):
        state, cache = advance(conditions, cache, jnp.int32(t), previous)
        np.testing.assert_allclose(state, output.state[:, t], atol=2e-4)
        previous = {"speech": batch.speech_tokens[:, t], "background": batch.background_tokens[:, t]}
