"""Bytes of collectives, on programs whose traffic is known by hand."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from dualdub_jax.tools.collectives import read_groups
from dualdub_jax.tools.hlo_costs import CostCounter
from dualdub_jax.tools.hlo_program import parse_program

ARRAY = 16 * 64 * 4  # bytes of one device's array, float32[16, 64]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.tools.eight_device_programs"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "kind", "num_bytes"),
    [
        ("psum_of_all", "all-reduce", 2 * ARRAY * 7 / 8),
        ("psum_of_two", "all-reduce", 2 * ARRAY * 1 / 2),
        ("psum_in_scan", "all-reduce", 5 * 2 * ARRAY * 3 / 4),
        ("all_gather", "all-gather", 4 * ARRAY * 3 / 4),
        ("all_gather_in_scan", "all-gather", 7 * 4 * ARRAY * 3 / 4),
        ("reduce_scatter", "reduce-scatter", ARRAY * 3 / 4),
        ("all_to_all", "all-to-all", ARRAY * 1 / 2),
        ("permute", "collective-permute", ARRAY),
        ("permute_in_nested_scan", "collective-permute", 2 * 3 * ARRAY),
        ("row_parallel", "all-reduce", 2 * (8 * 32 * 4) * 3 / 4),
    ],
)
def test_each_kind_counts_the_bytes_that_one_device_sends(texts, name, kind, num_bytes):
    cost = CostCounter(parse_program(texts[name])).total()
    assert dict(cost.collective_bytes) == {kind: num_bytes}


def test_groups_are_read_in_all_their_forms():
    assert read_groups("{{0,1},{2,3}}", 4).tolist() == [[0, 1], [2, 3]]
    assert read_groups("[2,2]<=[4]", 4).tolist() == [[0, 1], [2, 3]]
    assert read_groups("[2,2]<=[2,2]T(1,0)", 4).tolist() == [[0, 2], [1, 3]]
    assert read_groups("mesh['a'=2,'b'=2] {'a'}, dimensions={1}", 4).tolist() == [[0, 2], [1, 3]]
    assert read_groups("mesh['a'=2,'b'=2] {'a','b'}", 4).tolist() == [[0, 1, 2, 3]]
    reordered = "mesh['a'=1,'b'=2,'c'=2], device_ids=([2,2]T(1,0)) {'b'}, dimensions={0}"
    assert read_groups(reordered, 4).tolist() == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="unknown form"):
        read_groups("mesh['a'=4] {'a':(1)2}", 4)
    assert read_groups("{}", 3).tolist() == [[0, 1, 2]]


# What TPU programs look like; written by hand, since no other backend makes these forms.
ASYNCHRONOUS = """HloModule jit_f, is_scheduled=true, num_partitions=4

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%all-reduce-scatter (p0: f32[64,128]) -> f32[16,128] {
  %p0 = f32[64,128]{1,0:T(8,128)} parameter(0)
  %all-reduce = f32[64,128]{1,0} all-reduce(%p0), replica_groups=[1,4]<=[4], to_apply=%add
  %zero = s32[] constant(0)
  ROOT %share = f32[16,128]{1,0} dynamic-slice(%all-reduce, %zero, %zero), dynamic_slice_sizes={16,128}
}

ENTRY %main (x: f32[16,128], y: f32[64,128]) -> (f32[64,128], f32[16,128]) {
  %x = f32[16,128]{1,0:T(8,128)} parameter(0)
  %y = f32[64,128]{1,0:T(8,128)} parameter(1)
  %start = (f32[16,128]{1,0:T(8,128)}, f32[64,128]{1,0:T(8,128)}) all-gather-start(%x), replica_groups=[1,4]<=[4], dimensions={0}
  %own = f32[16,128]{1,0} fusion(%y), kind=kCustom, calls=%all-reduce-scatter
  %done = f32[64,128]{1,0:T(8,128)} all-gather-done(%start)
  ROOT %out = (f32[64,128]{1,0}, f32[16,128]{1,0}) tuple(%done, %own)
}
"""  # noqa: E501


def test_a_started_collective_counts_once_and_a_kept_share_of_a_sum_is_a_reduce_scatter():
    cost = CostCounter(parse_program(ASYNCHRONOUS)).total()
    whole = 64 * 128 * 4
    assert dict(cost.collective_bytes) == {"all-gather": whole * 3 / 4, "reduce-scatter": whole * 3 / 4}
    assert np.isclose(cost.flops, 0.0)
