"""Softmax attention as one TPU kernel per direction, with the scores in VMEM only.

Windows have hundreds of positions, so all keys of a clip and head fit into VMEM beside a block of queries. A
program computes whole rows of scores and needs no online softmax. The backward kernel recomputes the scores
and needs no residuals besides the inputs. Masks are arrays, different for each clip; JAX's own kernels target
longer sequences and require static masks.

Source: our choice; keeping scores out of HBM follows FlashAttention (Dao et al., 2022).
"""

import functools

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

LANES = 128  # vector lanes of a TPU; lengths are multiples of it
MAX_KEYS = 2048  # of a clip; beyond it, a block of whole rows exceeds VMEM
_MAX_SCORES = 512 * 512  # per program
_MASKED = -1e30


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def tpu_attention(
    queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array, interpret: bool = False
) -> jax.Array:
    """`dot_product_attention` without bias as a TPU kernel, differentiable.

    Args:
        queries: float[B, T, N, H], T a multiple of `LANES`.
        keys, values: float[B, S, K, H], K divides N, S a multiple of `LANES` and at most `MAX_KEYS`.
        mask: bool[B or 1, T, S], True where a query attends.
        interpret: run the kernels in interpret mode on any backend; for tests.

    Returns:
        float[B, T, N, H]; zeros for a fully masked query.
    """
    num_queries, num_groups = queries.shape[1], keys.shape[2]
    rows, keys, values = _by_group(queries, num_groups), _by_group(keys), _by_group(values)
    batch_size, _, num_rows, head_dim = rows.shape
    num_keys = keys.shape[2]
    block = _rows_of_a_block(num_queries, num_keys)
    row, key, mask_spec = _specs(block, num_queries, num_keys, head_dim, mask.shape[0] > 1)
    out = pl.pallas_call(
        functools.partial(_forward, scale=head_dim**-0.5),
        grid=(batch_size, num_groups, num_rows // block),
        in_specs=[row, key, key, mask_spec],
        out_specs=row,
        out_shape=jax.ShapeDtypeStruct(rows.shape, rows.dtype),
        compiler_params=_IN_ANY_ORDER,
        cost_estimate=_cost(2, rows, keys),
        interpret=interpret,
        name="attention_forward",
    )(rows, keys, values, mask.astype(jnp.int8))
    return _by_head(out, num_queries)


def _forward(q_ref, k_ref, v_ref, mask_ref, out_ref, *, scale: float) -> None:
    weights = _weights(q_ref[0, 0], k_ref[0, 0], mask_ref[0], scale)
    values = v_ref[0, 0]
    out_ref[0, 0] = _product(weights.astype(values.dtype), values, 1, 0).astype(out_ref.dtype)


def _backward(
    q_ref, k_ref, v_ref, mask_ref, d_out_ref, d_q_ref, d_k_ref, d_v_ref, d_k_sum, d_v_sum, *, scale: float
) -> None:
    @pl.when(pl.program_id(2) == 0)
    def _():
        d_k_sum[...] = jnp.zeros_like(d_k_sum)
        d_v_sum[...] = jnp.zeros_like(d_v_sum)

    q, k, v, d_out = q_ref[0, 0], k_ref[0, 0], v_ref[0, 0], d_out_ref[0, 0]
    weights = _weights(q, k, mask_ref[0], scale)
    d_v_sum[...] += _product(weights.astype(d_out.dtype), d_out, 0, 0)
    d_weights = _product(d_out, v, 1, 1)
    d_logits = weights * (d_weights - (weights * d_weights).sum(axis=-1, keepdims=True)) * scale
    d_logits = d_logits.astype(q.dtype)
    d_q_ref[0, 0] = _product(d_logits, k, 1, 0).astype(d_q_ref.dtype)
    d_k_sum[...] += _product(d_logits, q, 0, 0)

    @pl.when(pl.program_id(2) == pl.num_programs(2) - 1)
    def _():
        d_k_ref[0, 0] = d_k_sum[...].astype(d_k_ref.dtype)
        d_v_ref[0, 0] = d_v_sum[...].astype(d_v_ref.dtype)


def _weights(q: jax.Array, k: jax.Array, mask: jax.Array, scale: float) -> jax.Array:
    """float32[rows, S]: softmax over keys; zeros in fully masked rows."""
    is_visible = mask.astype(jnp.int32) != 0
    logits = jnp.where(is_visible, _product(q, k, 1, 1) * scale, _MASKED)
    weights = jnp.exp(logits - logits.max(axis=-1, keepdims=True))
    weights = jnp.where(is_visible, weights, 0.0)
    total = weights.sum(axis=-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1.0)


def _product(a: jax.Array, b: jax.Array, a_axis: int, b_axis: int) -> jax.Array:
    return jax.lax.dot_general(a, b, (((a_axis,), (b_axis,)), ((), ())), preferred_element_type=jnp.float32)


def _keep_inputs(queries, keys, values, mask, interpret):
    return tpu_attention(queries, keys, values, mask, interpret), (queries, keys, values, mask)


def _gradients(interpret, inputs, d_out):
    queries, keys, values, mask = inputs
    num_queries, num_groups = queries.shape[1], keys.shape[2]
    rows, d_rows = _by_group(queries, num_groups), _by_group(d_out, num_groups)
    keys, values = _by_group(keys), _by_group(values)
    batch_size, _, num_rows, head_dim = rows.shape
    num_keys = keys.shape[2]
    block = _rows_of_a_block(num_queries, num_keys)
    row, key, mask_spec = _specs(block, num_queries, num_keys, head_dim, mask.shape[0] > 1)
    d_q, d_k, d_v = pl.pallas_call(
        functools.partial(_backward, scale=head_dim**-0.5),
        grid=(batch_size, num_groups, num_rows // block),
        in_specs=[row, key, key, mask_spec, row],
        out_specs=[row, key, key],
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (rows, keys, values)],
        scratch_shapes=[pltpu.VMEM((num_keys, head_dim), jnp.float32)] * 2,
        compiler_params=_BLOCKS_IN_ORDER,
        cost_estimate=_cost(5, rows, keys),
        interpret=interpret,
        name="attention_backward",
    )(rows, keys, values, mask.astype(jnp.int8), d_rows)
    return _by_head(d_q, num_queries), _by_head(d_k, num_keys), _by_head(d_v, num_keys), None


tpu_attention.defvjp(_keep_inputs, _gradients)

_IN_ANY_ORDER = pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "parallel"))
_BLOCKS_IN_ORDER = pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary"))


def _specs(
    block: int, num_queries: int, num_keys: int, head_dim: int, is_mask_by_clip: bool
) -> tuple[pl.BlockSpec, pl.BlockSpec, pl.BlockSpec]:
    """Block specs of queries, keys and mask for a program of one clip, group and block of rows."""
    blocks_of_a_head = num_queries // block
    return (
        pl.BlockSpec((1, 1, block, head_dim), lambda clip, group, i: (clip, group, i, 0)),
        pl.BlockSpec((1, 1, num_keys, head_dim), lambda clip, group, i: (clip, group, 0, 0)),
        pl.BlockSpec(
            (1, block, num_keys),
            lambda clip, group, i: (clip if is_mask_by_clip else 0, i % blocks_of_a_head, 0),
        ),
    )


def _rows_of_a_block(num_queries: int, num_keys: int) -> int:
    """The largest divisor of `num_queries` that is a multiple of `LANES` and within `_MAX_SCORES`."""
    divisors = [n for n in range(LANES, num_queries + 1, LANES) if num_queries % n == 0]
    return max((n for n in divisors if n * num_keys <= _MAX_SCORES), default=LANES)


def _by_group(x: jax.Array, num_groups: int | None = None) -> jax.Array:
    """float[B, T, N, H] -> float[B, K, G T, H]: heads that share keys are stacked as rows."""
    return rearrange(x, "B T (K G) H -> B K (G T) H", K=num_groups or x.shape[2])


def _by_head(x: jax.Array, num_queries: int) -> jax.Array:
    """The inverse of `_by_group`."""
    return rearrange(x, "B K (G T) H -> B T (K G) H", T=num_queries)


def _cost(num_products: int, rows: jax.Array, keys: jax.Array) -> pl.CostEstimate:
    """Cost estimate for the compiler's scheduler and for `dualdub aot`."""
    scores = rows.shape[0] * rows.shape[1] * rows.shape[2] * keys.shape[2]
    return pl.CostEstimate(
        flops=2 * num_products * scores * rows.shape[3],
        transcendentals=scores,
        bytes_accessed=num_products * (rows.size + keys.size) * rows.dtype.itemsize,
    )
