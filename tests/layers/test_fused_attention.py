"""The fused kernels compute what plain attention does; where they cannot run, that is said."""

import functools
import logging
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from dualdub_jax.errors import UserError
from dualdub_jax.layers import fused_attention
from dualdub_jax.layers.attention import dot_product_attention
from dualdub_jax.layers.tpu_attention import tpu_attention
from dualdub_jax.parallel.mesh import AXES

BATCH_SIZE, NUM_HEADS, NUM_GROUPS, HEAD_DIM = 2, 4, 2, 8


def _inputs(num_queries: int, num_keys: int, mask_batch: int = BATCH_SIZE, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 5)
    draw = functools.partial(jax.random.normal, dtype=dtype)
    mask = jax.random.bernoulli(keys[3], 0.5, (mask_batch, num_queries, num_keys))
    mask = mask.at[0, 3:9].set(False)  # queries that may look nowhere
    return (
        draw(keys[0], (BATCH_SIZE, num_queries, NUM_HEADS, HEAD_DIM)),
        draw(keys[1], (BATCH_SIZE, num_keys, NUM_GROUPS, HEAD_DIM)),
        draw(keys[2], (BATCH_SIZE, num_keys, NUM_GROUPS, HEAD_DIM)),
        mask,
        draw(keys[4], (BATCH_SIZE, num_queries, NUM_HEADS, HEAD_DIM)),
    )


def _mesh(kind: str, **sizes: int) -> AbstractMesh:
    """A mesh of devices that are not there."""
    return AbstractMesh(
        tuple(sizes.get(axis, 1) for axis in AXES),
        AXES,
        axis_types=(AxisType.Auto,) * len(AXES),
        abstract_device=AbstractDevice(device_kind="absent", num_cores=1, platform=kind),
    )


def _gradients(attend, queries, keys, values, mask, d_out):
    """What attention makes, and the gradients of queries, keys and values."""

    def both(queries, keys, values, mask, d_out):
        out, gradients = jax.vjp(lambda *qkv: attend(*qkv, mask), queries, keys, values)
        return out, gradients(d_out)

    return jax.tree.map(np.asarray, jax.jit(both)(queries, keys, values, mask, d_out))


def _interpreted(queries, keys, values, mask):
    return tpu_attention(queries, keys, values, mask, True)


# 640 queries that meet 512 keys are five blocks for each head; 128 are one.
@pytest.mark.parametrize(
    ("num_queries", "num_keys", "mask_batch"), [(640, 512, BATCH_SIZE), (128, 256, 1)], ids=str
)
def test_the_tpu_kernel_equals_plain_attention_in_values_and_gradients(num_queries, num_keys, mask_batch):
    inputs = _inputs(num_queries, num_keys, mask_batch)
    plain, plain_gradients = _gradients(dot_product_attention, *inputs)
    fused, fused_gradients = _gradients(_interpreted, *inputs)
    np.testing.assert_allclose(fused, plain, atol=2e-6)
    # Queries that may look nowhere: zeros, and no gradient through them.
    assert not fused[0, 3:9].any() and not fused_gradients[0][0, 3:9].any()
    for ours, theirs in zip(fused_gradients, plain_gradients, strict=True):
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    "sizes", [{}, {"data": 2}, {"fsdp": 2, "tensor": 2}, {"data": 2, "sequence": 2}], ids=str
)
def test_on_a_mesh_each_device_runs_the_kernel_on_its_share(sizes):
    queries, keys, values, mask, d_out = _inputs(256, 256, dtype=jnp.bfloat16)
    mesh = _mesh("tpu", **sizes)

    def step(queries, keys, values, mask, d_out):
        assert fused_attention.use_fused("fused", queries, keys)
        out, gradients = jax.vjp(
            lambda *qkv: fused_attention.fused_attention(*qkv, mask), queries, keys, values
        )
        return out, gradients(d_out)

    with jax.sharding.use_abstract_mesh(mesh):
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (queries, keys, values, mask, d_out)
        )
        text = jax.jit(step).trace(*shapes).lower(lowering_platforms=("tpu",)).as_text()
    assert text.count('kernel_name = "attention_forward"') == 1
    assert text.count('kernel_name = "attention_backward"') == 1
    clips = BATCH_SIZE // (sizes.get("data", 1) * sizes.get("fsdp", 1))
    groups = NUM_GROUPS // sizes.get("tensor", 1)
    rows = 256 * NUM_HEADS // NUM_GROUPS // sizes.get("sequence", 1)
    assert f"tensor<{clips}x{groups}x{rows}x{HEAD_DIM}xbf16>" in text


def test_cudnn_is_called_on_cuda(monkeypatch):
    # As on a machine with cuDNN, which lowering asks for its version.
    installed = types.SimpleNamespace(cudnn_get_version=lambda: 91000)
    monkeypatch.setattr(fused_attention_stablehlo, "cuda_versions", installed)
    queries, keys, values, mask, _ = _inputs(16, 16, dtype=jnp.bfloat16)

    def attend(queries, keys, values):
        assert fused_attention.use_fused("fused", queries, keys)
        return fused_attention.fused_attention(queries, keys, values, mask).astype(jnp.float32).sum()

    with jax.sharding.use_abstract_mesh(_mesh("gpu")):
        shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (queries, keys, values)]
        text = jax.jit(jax.grad(attend)).trace(*shapes).lower(lowering_platforms=("cuda",)).as_text()
    assert "__cudnn$fmhaScaleBiasSoftmax" in text
    assert "__cudnn$fmhaScaleBiasSoftmaxBackward" in text


@pytest.mark.parametrize(
    ("kind", "sizes", "length", "dtype", "said"),
    [
        ("cpu", {}, 128, jnp.bfloat16, "no kernel for the platform cpu"),
        ("tpu", {}, 125, jnp.bfloat16, "125 queries a device and 125 keys"),
        ("tpu", {}, 4096, jnp.bfloat16, "at most 2048 keys"),
        ("tpu", {"sequence": 4}, 256, jnp.bfloat16, "64 queries a device"),
        ("tpu", {"tensor": 4}, 128, jnp.bfloat16, "2 along 'act_heads' cannot be split over 4 devices"),
        ("tpu", {"data": 3}, 128, jnp.bfloat16, "2 along 'batch' cannot be split over 3 devices"),
        ("gpu", {}, 128, jnp.float32, "not float32"),
        ("gpu", {}, 125, jnp.bfloat16, "even lengths"),
        ("gpu", {"sequence": 2}, 128, jnp.bfloat16, "sequence > 1"),
    ],
)
def test_what_no_kernel_takes_is_an_error_or_is_logged_once(caplog, kind, sizes, length, dtype, said):
    queries = jax.ShapeDtypeStruct((BATCH_SIZE, length, NUM_HEADS, HEAD_DIM), dtype)
    keys = jax.ShapeDtypeStruct((BATCH_SIZE, length, NUM_GROUPS, HEAD_DIM), dtype)
    fused_attention._log_once.cache_clear()
    with jax.sharding.use_abstract_mesh(_mesh(kind, **sizes)), caplog.at_level(logging.WARNING):
        with pytest.raises(UserError, match=said):
            fused_attention.use_fused("fused", queries, keys)
        for _ in range(2):
            assert not fused_attention.use_fused("auto", queries, keys)
            assert not fused_attention.use_fused("plain", queries, keys)
    # On a CPU plain attention is what is expected: nothing to report.
    assert [said in message for message in caplog.messages] == ([] if kind == "cpu" else [True])


def test_an_unknown_implementation_is_refused():
    queries = jax.ShapeDtypeStruct((1, 128, 1, 8), jnp.float32)
    with pytest.raises(UserError, match="flash: choose one of auto, plain, fused"):
        fused_attention.use_fused("flash", queries, queries)
