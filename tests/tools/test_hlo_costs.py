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


def test_a_slice_of_stacked_layers_is_read_as_the_slice():
    def layers(x, kernels):
        return jax.lax.scan(lambda x, kernel: (x * kernel, None), x, kernels)[0]

    num_bytes = _cost(layers, (64, 64), (100, 64, 64)).hbm_bytes
    assert num_bytes < 100 * 6 * 64 * 64 * 4  # whole stacks would be a hundred times as much
