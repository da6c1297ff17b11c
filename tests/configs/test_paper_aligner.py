"""The paper's aligner by import path alone: causality, one frame at a time, ablations, a whole small run."""

import dataclasses
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.config import load_config
from dualdub_jax.configs.proj.paper_aligner.paper_aligner import PaperAligner
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.models.dualdub import make_model
from tests.tiny import random_batch, random_params, tiny_config

ROOT = pathlib.Path(__file__).parents[2]
PATH = "dualdub_jax.configs.proj.paper_aligner.paper_aligner:PaperAligner(num_heads=2)"
TINY = tiny_config()
CONFIG = dataclasses.replace(
    TINY, model=dataclasses.replace(TINY.model, aligner=dataclasses.replace(TINY.model.aligner, kind=PATH))
)
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


@pytest.fixture(scope="module")
def params(streams):
    aligner = PaperAligner(CONFIG.model, num_heads=2)
    whole = lambda module, *pasts: module(*pasts, _conditions(), module.start(_conditions()))  # noqa: E731
    return nn.unbox(aligner.init(jax.random.key(0), *streams, method=whole))


def _fuse(params, streams, conditions, **switches):
    aligner = PaperAligner(CONFIG.model, num_heads=2, **switches)
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


@pytest.mark.parametrize(
    "name",
    ["background_from_speech", "speech_from_background", "background_from_video", "speech_from_video"],
)
def test_each_attention_is_a_term_of_the_sum_and_can_be_switched_off(streams, params, name):
    conditions = _conditions()
    every = ("background_from_speech", "speech_from_background", "background_from_video", "speech_from_video")
    whole = _fuse(params, streams, conditions)
    without = _fuse(params, streams, conditions, **{name: False})
    alone = _fuse(params, streams, conditions, **{other: other == name for other in every})
    assert np.abs(alone).max() > 0.1
    np.testing.assert_allclose(without + alone, whole, atol=1e-5)


def test_one_frame_at_a_time_equals_all_frames_at_once(streams, params):
    conditions = _conditions()
    aligner = PaperAligner(CONFIG.model, num_heads=2)
    whole = _fuse(params, streams, conditions)
    cache = aligner.apply(params, conditions, method="start")
    step = jax.jit(aligner.apply)
    for t in range(NUM_FRAMES):
        fused, cache = step(params, *streams[:, :, t : t + 1], conditions, cache, jnp.int32(t))
        np.testing.assert_allclose(fused[:, 0], whole[:, t], atol=1e-5)


def test_the_whole_model_decodes_with_it_as_it_trains():
    params, batch, model = random_params(CONFIG), random_batch(CONFIG, 2), make_model(CONFIG)
    variables = {"params": params}
    output = jax.jit(model.apply)(variables, batch)
    conditions = model.apply(variables, batch, method="encode")
    cache = model.apply(variables, conditions, method="start")
    advance = jax.jit(lambda *args: model.apply(variables, *args, method="advance"))
    previous = {"speech": batch.speech_tokens[:, 0] * 0, "background": batch.background_tokens[:, 0] * 0}
    for t in range(CONFIG.grid.num_frames):
        state, cache = advance(conditions, cache, jnp.int32(t), previous)
        np.testing.assert_allclose(state, output.state[:, t], atol=2e-4)
        previous = {"speech": batch.speech_tokens[:, t], "background": batch.background_tokens[:, t]}


def test_the_config_differs_from_its_parent_in_one_key():
    ours = load_config(str(ROOT / "configs/proj/paper_aligner/config.py"))
    parent = load_config(str(ROOT / "configs/puppet.py"))
    aligner = dataclasses.replace(ours.model.aligner, kind=parent.model.aligner.kind)
    assert ours.model.aligner.kind.endswith(":PaperAligner")
    assert (
        dataclasses.replace(ours, name="puppet", model=dataclasses.replace(ours.model, aligner=aligner))
        == parent
    )
