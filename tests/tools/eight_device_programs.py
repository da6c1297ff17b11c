"""Compiles small programs with known traffic on eight simulated devices; prints their texts as JSON.

A process of its own, because the number of devices is fixed when JAX starts:

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.tools.eight_device_programs
"""

import functools
import json

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

MESH = jax.make_mesh((2, 4), ("two", "four"), axis_types=(AxisType.Auto,) * 2)
SHAPE = (16, 64)  # float32 on one device: 4096 bytes


def per_device(function):
    """Every device runs `function` on an array of `SHAPE` of its own."""
    spec = PartitionSpec(("two", "four"))
    return jax.shard_map(function, mesh=MESH, in_specs=spec, out_specs=spec, check_vma=False)


def in_scan(function, length: int):
    return lambda x: jax.lax.scan(lambda carry, _: (function(carry), None), x, length=length)[0]


def ring(x, axis: str, size: int):
    return jax.lax.ppermute(x, axis, [(i, (i + 1) % size) for i in range(size)])


def row_parallel(x):
    """A matrix product whose inner axis is split: the partitioner has to add up."""
    kernel = jnp.ones((64, 32), jnp.float32)
    x = jax.lax.with_sharding_constraint(x, NamedSharding(MESH, PartitionSpec("two", "four")))
    kernel = jax.lax.with_sharding_constraint(kernel, NamedSharding(MESH, PartitionSpec("four", None)))
    return jax.lax.with_sharding_constraint(x @ kernel, NamedSharding(MESH, PartitionSpec("two")))


def programs() -> dict[str, tuple]:
    psum = functools.partial(jax.lax.psum, axis_name=("two", "four"))
    gather = functools.partial(jax.lax.all_gather, axis_name="four", tiled=True)
    scatter = functools.partial(jax.lax.psum_scatter, axis_name="four", tiled=True)
    swap = functools.partial(jax.lax.all_to_all, axis_name="two", split_axis=0, concat_axis=1, tiled=True)
    return {
        "psum_of_all": per_device(psum),
        "psum_of_two": per_device(lambda x: jax.lax.psum(x, "two")),
        "psum_in_scan": per_device(in_scan(lambda x: 0.5 * jax.lax.psum(x, "four"), 5)),
        "all_gather": per_device(gather),
        "all_gather_in_scan": per_device(in_scan(lambda x: gather(x)[:16] * 0.5 + gather(x)[16:32], 7)),
        "reduce_scatter": per_device(scatter),
        "all_to_all": per_device(swap),
        "permute": per_device(lambda x: ring(x, "four", 4)),
        "permute_in_nested_scan": per_device(in_scan(in_scan(lambda x: 2.0 * ring(x, "two", 2), 3), 2)),
        "row_parallel": row_parallel,
    }


def main() -> None:
    texts = {}
    for name, function in programs().items():
        rows = SHAPE[0] if name == "row_parallel" else 8 * SHAPE[0]
        x = jax.ShapeDtypeStruct((rows, SHAPE[1]), jnp.float32)
        texts[name] = jax.jit(function).lower(x).compile().as_text()
    print(json.dumps(texts))


if __name__ == "__main__":
    main()
