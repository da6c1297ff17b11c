"""The example fork: its aligner does what it says, trains, and its bundles load again."""

import dataclasses
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from configs.proj.example.windowed_aligner import WindowedMutualAligner

from dualdub_jax.bundles.bundle import abstract_params, load_bundle, save_bundle
from dualdub_jax.config import load_config
from dualdub_jax.models.aligners.grid import MutualAligner
from dualdub_jax.models.dualdub import make_model
from tests.tiny import random_batch, random_params, tiny_config

ROOT = pathlib.Path(__file__).parents[2]
PATH = "configs.proj.example.windowed_aligner:WindowedMutualAligner(window_frames=3)"
TINY = tiny_config()
CONFIG = dataclasses.replace(
    TINY,
    model=dataclasses.replace(TINY.model, aligner=dataclasses.replace(TINY.model.aligner, mutual=PATH)),
)
WINDOW, NUM_FRAMES, WIDTH = 3, 10, 16


@pytest.fixture(scope="module")
def streams():
    speech, background = np.random.default_rng(0).normal(size=(2, 2, NUM_FRAMES, WIDTH)).astype(np.float32)
    return speech, background, np.array([True, True]), np.array([True, True])


def _aligner(window_frames):
    return WindowedMutualAligner(CONFIG.model.aligner, window_frames=window_frames)


@pytest.fixture(scope="module")
def params(streams):
    params = nn.unbox(_aligner(WINDOW).init(jax.random.key(0), *streams))
    return jax.tree.map(lambda x: x + 0.3, params)  # a gate of zero would hide everything


def test_a_position_sees_its_window_of_the_other_stream_and_no_more(streams, params):
    speech, background, *present = streams
    apply = jax.jit(_aligner(WINDOW).apply)
    before, *_ = apply(params, speech, background, *present)
    changed = background.copy()
    changed[:, 4] += 1.0
    after, *_ = apply(params, speech, changed, *present)
    moved = np.abs(np.asarray(after - before)).max(axis=(0, 2)) > 1e-6
    assert list(np.flatnonzero(moved)) == [4, 5, 6]


def test_a_window_as_long_as_the_clip_is_the_core_aligner(streams, params):
    wide = _aligner(NUM_FRAMES).apply(params, *streams)
    core = MutualAligner(CONFIG.model.aligner).apply(params, *streams)
    jax.tree.map(np.testing.assert_array_equal, wide[:2], core[:2])


def test_one_frame_at_a_time_is_all_at_once(streams, params):
    speech, background, *present = streams
    aligner = _aligner(WINDOW)
    whole = aligner.apply(params, *streams)
    cache = aligner.empty_cache(2, NUM_FRAMES)
    step = jax.jit(aligner.apply)
    for t in range(NUM_FRAMES):
        now = slice(t, t + 1)
        *frame, cache = step(params, speech[:, now], background[:, now], *present, cache, jnp.int32(t))
        for one, all_frames in zip(frame, whole[:2], strict=True):
            np.testing.assert_allclose(one[:, 0], all_frames[:, t], atol=1e-5)


def test_the_config_differs_from_its_parent_in_one_key():
    ours = load_config(str(ROOT / "configs/proj/example/config.py"))
    parent = load_config(str(ROOT / "configs/puppet.py"))
    assert ours.model.aligner.mutual.endswith("WindowedMutualAligner(window_frames=25)")
    aligner = dataclasses.replace(ours.model.aligner, mutual=parent.model.aligner.mutual)
    assert dataclasses.replace(ours.model, aligner=aligner) == parent.model
    assert dataclasses.replace(ours, name="puppet", model=parent.model) == parent


def test_the_model_has_it_with_the_parameters_of_the_core_and_its_bundle_comes_back(tmp_path):
    params = abstract_params(CONFIG)
    assert jax.tree.structure(params) == jax.tree.structure(abstract_params(TINY))
    model_params, batch = random_params(TINY), random_batch(CONFIG, 1)
    windowed = jax.jit(make_model(CONFIG).apply)({"params": model_params}, batch)[0]
    core = jax.jit(make_model(TINY).apply)({"params": model_params}, batch)[0]
    difference = np.abs(np.asarray(windowed["speech"] - core["speech"])).max(axis=(0, 2, 3))
    assert difference[:WINDOW].max() < 1e-5 < difference[WINDOW:].max()
    codecs = {
        name: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params[name])
        for name in ("speech_codec", "background_codec")
    }
    save_bundle(tmp_path / "bundle", CONFIG, {"model": model_params, **codecs}, {})
    # Its module is imported already, by this test: that is trust enough.
    config, loaded = load_bundle(tmp_path / "bundle")
    assert config.model.aligner.mutual == PATH
    jax.tree.map(np.testing.assert_array_equal, loaded["model"], model_params)
