"""FLOPs counted in optimized programs, against products known by hand."""

import jax
import jax.numpy as jnp
import pytest

from dualdub_jax.tools.hlo_costs import Cost, CostCounter
from dualdub_jax.tools.hlo_program import parse_program


def _cost(function, *shapes: tuple[int, ...]) -> Cost:
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return CostCounter(parse_program(jax.jit(function).lower(*arguments).compile().as_text())).total()


def test_a_product_in_a_scan_counts_once_for_each_turn():
    def layers(x, kernels):
        return jax.lax.scan(lambda x, kernel: (jnp.tanh(x @ kernel), None), x, kernels)[0]

    assert _cost(layers, (32, 64), (6, 64, 64)).flops == 6 * 2 * 32 * 64 * 64


def test_a_batched_product_of_several_axes():
    flops = _cost(lambda q, k: jnp.einsum("btnh,bsnh->bnts", q, k), (3, 5, 2, 16), (3, 7, 2, 16)).flops
    assert flops == 2 * 3 * 2 * 5 * 7 * 16


def test_loops_with_nested_loops_and_a_bound_from_outside():
    def nested(x):
        return jax.lax.fori_loop(0, 3, lambda _, y: jax.lax.fori_loop(1, 5, lambda _, z: z @ z, y), x)

    assert _cost(nested, (64, 64)).flops == 3 * 4 * 2 * 64**3


def test_a_loop_of_unknown_length_is_an_error_and_not_a_guess():
    with pytest.raises(ValueError, match="number of its iterations"):
        _cost(lambda x: jax.lax.while_loop(lambda y: y.sum() < 1e3, lambda y: y @ y, x), (8, 8))


# A batched product as TPU programs write it: the batch is a dilated axis of a convolution, of which each
# output position meets one true input.
TPU_PRODUCT = """HloModule jit_f, num_partitions=1

ENTRY %main (q: bf16[6,128,64], k: bf16[6,256,64]) -> f32[6,128,256] {
  %q = bf16[6,128,64]{2,1,0:T(8,128)(2,1)} parameter(0)
  %k = bf16[6,256,64]{2,1,0:T(8,128)(2,1)S(1)} parameter(1)
  ROOT %c = f32[6,128,256]{2,1,0:T(8,128)} convolution(%q, %k), window={size=6 stride=5 pad=0_0 lhs_dilate=6}, dim_labels=0bf_0oi->0bf
}
"""  # noqa: E501


def test_a_tpu_product_counts_true_taps_whole_tiles_and_no_bytes_of_fast_memory():
    cost = CostCounter(parse_program(TPU_PRODUCT), tile=128).total()
    assert cost.flops == 2 * 6 * 128 * 256 * 64
    assert cost.tiled_flops == 2 * cost.flops  # 64 of 128 rows of the matrix unit are used
    assert cost.hbm_bytes == 6 * 128 * 64 * 2 + 6 * 128 * 256 * 4


# What a layer's backward pass reads of what the forward pass kept: a slice, cut in a fusion inside of one.
NESTED_SLICE = """HloModule jit_f, num_partitions=1

%inner (p: bf16[24,128,64], i: s32[]) -> bf16[128,64] {
  %p = bf16[24,128,64]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %zero = s32[] constant(0)
  %slice = bf16[1,128,64]{2,1,0} dynamic-slice(%p, %i, %zero, %zero), dynamic_slice_sizes={1,128,64}
  ROOT %b = bf16[128,64]{1,0} bitcast(%slice)
}

%outer (kept: bf16[24,128,64], i: s32[], x: bf16[128,32]) -> bf16[64,32] {
  %kept = bf16[24,128,64]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %x = bf16[128,32]{1,0} parameter(2)
  %layer = bf16[128,64]{1,0} fusion(%kept, %i), kind=kLoop, calls=%inner
  ROOT %d = bf16[64,32]{1,0} dot(%layer, %x), lhs_contracting_dims={0}, rhs_contracting_dims={0}
}

ENTRY %main (kept: bf16[24,128,64], i: s32[], x: bf16[128,32]) -> bf16[64,32] {
  %kept = bf16[24,128,64]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %x = bf16[128,32]{1,0} parameter(2)
  ROOT %f = bf16[64,32]{1,0} fusion(%kept, %i, %x), kind=kOutput, calls=%outer
}
"""


def test_a_slice_in_a_fusion_in_a_fusion_is_read_as_the_slice():
    cost = CostCounter(parse_program(NESTED_SLICE)).total()
    assert cost.hbm_bytes == 4 + 2 * (128 * 64 + 128 * 32 + 64 * 32)
    assert cost.flops == 2 * 128 * 64 * 32


# A gather on its way, handed through a product that has nothing to do with it.
PASSED_ON = """HloModule jit_f, num_partitions=4

%outer (shard: f32[8,64], whole: f32[32,64], x: bf16[128,32]) -> (bf16[32,32], f32[8,64], f32[32,64]) {
  %shard = f32[8,64]{1,0} parameter(0)
  %whole = f32[32,64]{1,0} parameter(1)
  %x = bf16[128,32]{1,0} parameter(2)
  %d = bf16[32,32]{1,0} dot(%x, %x), lhs_contracting_dims={0}, rhs_contracting_dims={0}
  %g = f32[32,64]{1,0} all-gather(%shard), channel_id=1, replica_groups=[1,4]<=[4], dimensions={0}
  ROOT %t = (bf16[32,32]{1,0}, f32[8,64]{1,0}, f32[32,64]{1,0}) tuple(%d, %shard, %g)
}

ENTRY %main (shard: f32[8,64], whole: f32[32,64], x: bf16[128,32]) -> (bf16[32,32], f32[8,64], f32[32,64]) {
  %shard = f32[8,64]{1,0} parameter(0)
  %whole = f32[32,64]{1,0} parameter(1)
  %x = bf16[128,32]{1,0} parameter(2)
  ROOT %f = (bf16[32,32]{1,0}, f32[8,64]{1,0}, f32[32,64]{1,0}) fusion(%shard, %whole, %x), kind=kOutput, output_to_operand_aliasing={{1}: (0, {}), {2}: (1, {})}, calls=%outer
}
"""  # noqa: E501


def test_what_a_gather_brings_is_not_written_by_what_runs_meanwhile():
    cost = CostCounter(parse_program(PASSED_ON)).total()
    assert cost.hbm_bytes == 4 * 8 * 64 + 2 * (128 * 32 + 32 * 32)
    not_aliased = PASSED_ON.replace("output_to_operand_aliasing={{1}: (0, {}), {2}: (1, {})}, ", "")
    assert CostCounter(parse_program(not_aliased)).total().hbm_bytes == cost.hbm_bytes + 4 * (8 + 32) * 64


# A Pallas kernel, of which the text tells nothing but what its author declared.
KERNEL = """HloModule jit_f, num_partitions=1

ENTRY %main (q: bf16[2,256,64], k: bf16[2,128,64]) -> bf16[2,256,64] {
  %q = bf16[2,256,64]{2,1,0} parameter(0)
  %k = bf16[2,128,64]{2,1,0} parameter(1)
  ROOT %a = bf16[2,256,64]{2,1,0} custom-call(%q, %k), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"body":"AA==",COST"needs_layout_passes":true}}
}
"""  # noqa: E501


def test_a_kernel_costs_what_it_declares_in_tiles_of_its_width():
    declared = '"cost_estimate":{"flops":"16777216","transcendentals":"65536","bytes_accessed":"1"},'
    cost = CostCounter(parse_program(KERNEL.replace("COST", declared)), tile=128).total()
    assert (cost.flops, cost.tiled_flops, cost.exponentials) == (16777216, 2 * 16777216, 65536)
    assert cost.hbm_bytes == 2 * 2 * (256 + 128 + 256) * 64
    assert cost.opaque == set()
    silent = CostCounter(parse_program(KERNEL.replace("COST", ""))).total()
    assert silent.opaque == {"tpu_custom_call"}


def test_a_slice_of_stacked_layers_is_read_as_the_slice():
    def layers(x, kernels):
        return jax.lax.scan(lambda x, kernel: (x * kernel, None), x, kernels)[0]

    num_bytes = _cost(layers, (64, 64), (100, 64, 64)).hbm_bytes
    assert num_bytes < 100 * 6 * 64 * 64 * 4  # whole stacks would be a hundred times as much
