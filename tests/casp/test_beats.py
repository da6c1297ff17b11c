"""CASP and its BEATs against the original code's outputs for the same weights; and their parts."""

import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.casp.beats import scale_gradient
from dualdub_jax.casp.convert.casp_from_torch import casp_from_torch
from dualdub_jax.casp.model import Casp, StemEncoder, abstract_params
from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.config import BeatsConfig, CaspConfig
from dualdub_jax.layers.relative_position import relative_buckets
from dualdub_jax.parallel.sharding import RULES

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "beats.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def converted(golden):
    prefix = "weights/"
    weights = {name[len(prefix) :]: x for name, x in golden.items() if name.startswith(prefix)}
    config, params = casp_from_torch(weights, "golden")
    # Neither can be read off tensors; this is what tests/golden/make_beats_golden.py says.
    encoder = BeatsConfig(**{**vars(config.encoder), "max_distance": 20})
    return CaspConfig(encoder=encoder), params


@pytest.fixture(scope="module", params=[("speech", "speech"), ("background", "audio")])
def encoded(request, golden, converted):
    ours, theirs = request.param
    config, params = converted
    embedding, out = jax.jit(StemEncoder(config).apply)(
        {"params": params[ours]}, golden[f"{theirs}/waveform"]
    )
    wanted = {name.split("/", 1)[1]: x for name, x in golden.items() if name.startswith(f"{theirs}/")}
    return embedding, out, wanted


def test_front_end_is_the_originals(encoded):
    _, out, wanted = encoded
    np.testing.assert_allclose(out["fbank"], wanted["fbank"], atol=1e-3)


def test_every_layer_is_the_originals(encoded):
    _, out, wanted = encoded
    for layer, (ours, theirs) in enumerate(zip(out["layers"], wanted["layers"], strict=True)):
        np.testing.assert_allclose(ours, theirs, atol=2e-4, err_msg=f"layer {layer}")


def test_embeddings_are_the_originals(encoded):
    embedding, _, wanted = encoded
    np.testing.assert_allclose(embedding, wanted["embedding"], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, atol=1e-6)


def test_similarities_are_the_originals(golden, converted):
    config, params = converted
    apply = jax.jit(Casp(config).apply)
    logits, _ = apply({"params": params}, golden["speech/waveform"], golden["audio/waveform"])
    np.testing.assert_allclose(logits, golden["logits"], atol=2e-5)


def test_relative_positions_have_their_own_buckets_when_near_and_share_them_when_far():
    distance = np.arange(-1000, 1001)
    bucket = relative_buckets(distance, 320, 800)
    near = np.abs(distance) < 80
    assert len(set(bucket[near])) == near.sum()
    assert bucket.min() == 0 and bucket.max() == 319
    assert set(bucket[distance >= 800]) == {319} and set(bucket[distance <= -800]) == {159}
    assert (np.diff(bucket[distance > 0]) >= 0).all()


def test_the_gradient_is_scaled_and_the_value_is_not():
    value, gradient = jax.value_and_grad(lambda x: scale_gradient(3.0 * x, 0.6))(jnp.float32(2.0))
    assert value == pytest.approx(6.0)
    assert gradient == pytest.approx(1.8)


def test_the_published_size():
    params = abstract_params(CaspConfig())
    encoder = sum(x.size for x in jax.tree.leaves(params["speech"]["encoder"]))
    assert 90e6 < encoder < 91e6
    assert params["speech"]["encoder"]["layers"]["up"]["kernel"].shape == (12, 768, 3072)


def test_every_parameter_names_its_axes():
    config = CaspConfig(encoder=BeatsConfig(patch_width=8, width=16, num_layers=2, num_heads=2, mlp_width=8))
    stem = jnp.zeros((1, 4000))
    boxed = jax.eval_shape(lambda: Casp(config).init(jax.random.key(0), stem, stem))
    known = {name for name, _ in RULES}
    leaves = jax.tree.leaves_with_path(boxed, is_leaf=lambda x: isinstance(x, nn.Partitioned))
    assert len(leaves) > 50
    for path, leaf in leaves:
        assert isinstance(leaf, nn.Partitioned), path_name(path)
        assert len(leaf.names) == leaf.value.ndim, path_name(path)
        assert set(leaf.names) <= known, (path_name(path), leaf.names)
