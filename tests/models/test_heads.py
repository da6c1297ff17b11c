"""The heads: a linear one is the head of a language model, and no more."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.codecs.registry import grid_spec
from dualdub_jax.models.analytic_flops import forward_macs
from dualdub_jax.models.heads import DepthHead, LinearHead
from tests.tiny import tiny_config, with_codec

CONFIG = tiny_config()
WIDTH, SIZE = CONFIG.model.width, 11


def _head(kind, num_codebooks):
    head = kind(CONFIG.model, num_codebooks, SIZE)
    rng = np.random.default_rng(0)
    state = rng.normal(size=(2, 5, WIDTH)).astype(np.float32)
    codes = rng.integers(0, SIZE, (2, 5, num_codebooks), np.int32)
    return head, nn.unbox(head.init(jax.random.key(0), state, codes)), state, codes


@pytest.mark.parametrize("num_codebooks", [1, 3])
def test_a_linear_head_is_one_matrix(num_codebooks):
    head, params, state, codes = _head(LinearHead, num_codebooks)
    (kernel,) = jax.tree.leaves(params)
    assert kernel.shape == (WIDTH, num_codebooks * SIZE)
    expected = (state @ kernel).reshape(2, 5, num_codebooks, SIZE)
    np.testing.assert_allclose(head.apply(params, state, codes), expected, atol=1e-5)


@pytest.mark.parametrize("kind", [LinearHead, DepthHead])
def test_sampling_a_frame_sees_the_logits_of_training(kind):
    head, params, state, codes = _head(kind, 3)
    parallel = head.apply(params, state, codes)
    carry = head.apply(params, state[:, 2], method="begin")
    for q in range(3):
        logits = head.apply(params, carry, q, method="next_logits")
        np.testing.assert_allclose(logits, parallel[:, 2, q], atol=1e-5)
        carry = head.apply(params, carry, jnp.asarray(codes[:, 2, q]), q, method="observe")


def test_one_codebook_costs_what_a_language_model_head_costs():
    config = with_codec(CONFIG, "speech", num_codebooks=1)
    group = dataclasses.replace(config.streams.speech, head="linear")
    linear = dataclasses.replace(config, streams=dataclasses.replace(config.streams, speech=group))
    frames, size = config.grid.num_frames, grid_spec(config, "speech").codebook_size
    width = config.model.head_width
    depth_cost = frames * width * (WIDTH + width + size)
    saved = forward_macs(config).full - forward_macs(linear).full
    assert saved == depth_cost - frames * WIDTH * size
