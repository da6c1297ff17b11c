"""The walk through a schedule, on programs short enough to time by hand."""

import numpy as np
import pytest

from dualdub_jax.tools.hlo_costs import CostCounter
from dualdub_jax.tools.hlo_program import parse_program
from dualdub_jax.tools.roofline import Roofline
from dualdub_jax.tools.topology import parse_topology

TOPOLOGY = parse_topology("v5e:4x4")
COORDINATES = np.stack(np.meshgrid(range(4), range(4), indexing="ij"), -1).reshape(-1, 2)

# Operands and results are on the chip, S(1): what takes time is the product and the gather, nothing else.
PROGRAM = """HloModule jit_f, is_scheduled=true, num_partitions=16

ENTRY %main (x: bf16[SIZE,4096], w: bf16[4096,4096]) -> bf16[SIZE,4096] {
  %x = bf16[SIZE,4096]{1,0:S(1)} parameter(0)
  %w = bf16[4096,4096]{1,0:S(1)} parameter(1)
  %shard = bf16[1048576]{0:S(1)} constant({...})
  START
  %product = bf16[SIZE,4096]{1,0:S(1)} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  DONE
}
"""
ASYNC = (
    "%s = (bf16[1048576]{0:S(1)}, bf16[16777216]{0:S(1)}) all-gather-start(%shard), "
    "replica_groups=[1,16]<=[16]",
    "%d = bf16[16777216]{0:S(1)} all-gather-done(%s)",
)
SYNC = ("%g = bf16[16777216]{0:S(1)} all-gather(%shard), replica_groups=[1,16]<=[16]", "")
GATHER_S = 15 * 1048576 * 2 / (2 * 45e9) + 15e-6 / 2
PRODUCT_S = 2 * 4096**2 / 197e12  # of one row


def _times(size: int, start: str, done: str):
    text = PROGRAM.replace("SIZE", str(size)).replace("START", start).replace("DONE", done)
    counter = CostCounter(parse_program(text.replace("%product =", "ROOT %product =")), tile=128)
    return Roofline(counter, TOPOLOGY, COORDINATES).total()


def test_an_asynchronous_gather_hides_behind_a_longer_product():
    times = _times(8192, *ASYNC)
    assert times.elapsed_s == pytest.approx(8192 * PRODUCT_S)
    assert times.interconnect_s == pytest.approx(GATHER_S)
    assert times.exposed_s == 0.0


def test_what_a_short_product_does_not_hide_is_waited_for():
    times = _times(128, *ASYNC)
    assert times.elapsed_s == pytest.approx(GATHER_S)
    assert times.exposed_s == pytest.approx(GATHER_S - 128 * PRODUCT_S)


def test_any_other_gather_stops_everything():
    times = _times(8192, *SYNC)
    assert times.elapsed_s == pytest.approx(8192 * PRODUCT_S + GATHER_S)
    assert times.exposed_s == pytest.approx(GATHER_S)


def test_a_loop_takes_its_body_as_often_as_it_runs():
    text = """HloModule jit_f, is_scheduled=true, num_partitions=16

%body (t: (s32[], f32[4096])) -> (s32[], f32[4096]) {
  %t = (s32[], f32[4096]) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %x = f32[4096]{0} get-tuple-element(%t), index=1
  %y = f32[4096]{0} negate(%x)
  ROOT %o = (s32[], f32[4096]) tuple(%i, %y)
}

%condition (t: (s32[], f32[4096])) -> pred[] {
  %t = (s32[], f32[4096]) parameter(0)
  ROOT %c = pred[] constant(true)
}

ENTRY %main (t: (s32[], f32[4096])) -> (s32[], f32[4096]) {
  %t = (s32[], f32[4096]) parameter(0)
  ROOT %w = (s32[], f32[4096]) while(%t), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"9"}}
}
"""  # noqa: E501
    times = Roofline(CostCounter(parse_program(text)), TOPOLOGY, COORDINATES).total()
    assert times.elapsed_s == times.hbm_s == pytest.approx(9 * 2 * 4096 * 4 / 819e9)


def test_a_kernel_takes_its_products_and_then_its_exponentials():
    text = """HloModule jit_f, is_scheduled=true, num_partitions=16

ENTRY %main (q: bf16[512,128]) -> bf16[512,128] {
  %q = bf16[512,128]{1,0:S(1)} parameter(0)
  ROOT %a = bf16[512,128]{1,0:S(1)} custom-call(%q), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"cost_estimate":{"flops":"197000000","transcendentals":"6100000","bytes_accessed":"1"}}}
}
"""  # noqa: E501
    times = Roofline(CostCounter(parse_program(text), tile=128), TOPOLOGY, COORDINATES).total()
    assert times.elapsed_s == pytest.approx(1e-6 + 24e-6)
