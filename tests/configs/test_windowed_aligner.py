"""The example fork: its aligner does what it says, trains, and its bundles load again."""

import dataclasses
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.bundles.bundle import abstract_params, load_bundle, save_bundle
from dualdub_jax.config import load_config
from dualdub_jax.configs.proj.windowed_aligner.windowed_aligner import WindowedAligner
from dualdub_jax.models.aligners.grid import GridAligner
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.types import STREAMS
from tests.tiny import random_batch, random_params, tiny_config

ROOT = pathlib.Path(__file__).parents[2]
PATH = "dualdub_jax.configs.proj.windowed_aligner.windowed_aligner:WindowedAligner(window_frames=3)"
TINY = tiny_config()
CONFIG = dataclasses.replace(
    TINY,
    model=dataclasses.replace(TINY.model, aligner=dataclasses.replace(TINY.model.aligner, kind=PATH)),
)
WINDOW, NUM_FRAMES, WIDTH = 3, 10, TINY.model.width


@pytest.fixture(scope="module")
def conditions():
    yes = np.array([True, True])
    return Conditions(
        prefix=np.zeros((2, 0, WIDTH), np.float32),
        prefix_mask=np.zeros((2, 0), bool),
        video=np.random.default_rng(0).normal(size=(2, NUM_FRAMES, WIDTH)).astype(np.float32),
        frame_mask=np.ones((2, NUM_FRAMES), bool),
        has_video=yes,
        has_speech=yes,
        has_background=yes,
        acoustics=None,
        script=None,
    )


@pytest.fixture(scope="module")
def streams():
    return np.random.default_rng(1).normal(size=(2, 2, NUM_FRAMES, WIDTH)).astype(np.float32)


def _aligner(window_frames):
    return WindowedAligner(CONFIG.model, window_frames=window_frames)


@pytest.fixture(scope="module")
def params(streams, conditions):
    whole = lambda module: module(*streams, conditions, module.start(conditions))  # noqa: E731
    params = nn.unbox(_aligner(WINDOW).init(jax.random.key(0), method=whole))
    return jax.tree.map(lambda x: x + 0.3, params)  # a gate of zero would hide everything


def _fuse(aligner, params, streams, conditions):
    cache = aligner.apply(params, conditions, method="start")
    return np.asarray(aligner.apply(params, *streams, conditions, cache).fused)


def test_a_position_sees_its_window_of_the_other_stream_and_no_more(streams, params, conditions):
    # A change of the background reaches frame 4 of its own stream, and of speech the frames that attend to
    # it.
    apply = jax.jit(lambda streams: _fused_speech(params, streams, conditions))
    changed = streams.copy()
    changed[1, :, 4] += 1.0
    moved = np.abs(np.asarray(apply(changed) - apply(streams))).max(axis=(0, 2)) > 1e-6
    assert list(np.flatnonzero(moved)) == [4, 5, 6]


def _fused_speech(params, streams, conditions):
    """The speech stream with what it attends to of the background, float[B, T, D]."""

    def run(module):
        return module.causal(*streams, conditions.has_speech, conditions.has_background)[0]

    return _aligner(WINDOW).apply(params, method=run)


def test_a_window_as_long_as_the_clip_is_the_core_aligner(streams, params, conditions):
    wide = _fuse(_aligner(NUM_FRAMES), params, streams, conditions)
    core = _fuse(GridAligner(CONFIG.model), params, streams, conditions)
    narrow = _fuse(_aligner(WINDOW), params, streams, conditions)
    np.testing.assert_array_equal(wide, core)
    assert np.abs(narrow - core).max() > 1e-3


def test_one_frame_at_a_time_equals_all_frames_at_once(streams, params, conditions):
    aligner = _aligner(WINDOW)
    whole = _fuse(aligner, params, streams, conditions)
    cache = aligner.apply(params, conditions, method="start")
    step = jax.jit(aligner.apply)
    for t in range(NUM_FRAMES):
        fused, cache = step(params, *streams[:, :, t : t + 1], conditions, cache, jnp.int32(t))
        np.testing.assert_allclose(fused[:, 0], whole[:, t], atol=1e-5)


def test_the_config_differs_from_its_parent_in_one_key():
    ours = load_config(str(ROOT / "configs/proj/windowed_aligner/config.py"))
    parent = load_config(str(ROOT / "configs/puppet.py"))
    assert ours.model.aligner.kind.endswith("WindowedAligner(window_frames=25)")
    aligner = dataclasses.replace(ours.model.aligner, kind=parent.model.aligner.kind)
    assert dataclasses.replace(ours.model, aligner=aligner) == parent.model
    assert dataclasses.replace(ours, name="puppet", model=parent.model) == parent


def test_the_model_has_it_with_the_parameters_of_the_core_and_its_bundle_comes_back(tmp_path):
    params = abstract_params(CONFIG)
    assert jax.tree.structure(params) == jax.tree.structure(abstract_params(TINY))
    model_params, batch = random_params(TINY), random_batch(CONFIG, 1)
    windowed = jax.jit(make_model(CONFIG).apply)({"params": model_params}, batch).logits
    core = jax.jit(make_model(TINY).apply)({"params": model_params}, batch).logits
    difference = np.abs(np.asarray(windowed["speech"] - core["speech"])).max(axis=(0, 2, 3))
    assert difference[:WINDOW].max() < 1e-5 < difference[WINDOW:].max()
    codecs = {
        f"{stream}_codec": jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params[f"{stream}_codec"])
        for stream in STREAMS
    }
    save_bundle(tmp_path / "bundle", CONFIG, {"model": model_params, **codecs}, {})
    # Its module is imported already, by this test: that is trust enough.
    config, loaded = load_bundle(tmp_path / "bundle")
    assert config.model.aligner.kind == PATH
    jax.tree.map(np.testing.assert_array_equal, loaded["model"], model_params)
