"""Products of few rows with weights that are stored as float32, bfloat16 or int8, on a CPU.

    python benchmarks/weight_dtypes.py

A decoding step multiplies one row, or a few, by every weight, and is bound by reading them: narrower weights
could be faster. 40 matrices of 512 x 1408 (115 MB of float32) are multiplied in sequence. "convert": the
weights are converted to float32 and multiplied. "sum": they are converted, multiplied and summed in one loop,
without a matrix product. "native": rows of bfloat16, or of int8 with scales of each row and column, with a
wider sum. The table has the fastest of the repeats, wall and CPU ms for all matrices; the last line is JSON.
"""

import argparse
import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from train_step import clock

WIDTH, MLP_WIDTH, NUM_MATRICES = 512, 1408, 40
Product = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # rows, weights, scales of columns


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="1,8", help="comma-separated")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    rng = np.random.default_rng(0)
    kernels = jnp.asarray(rng.standard_normal((NUM_MATRICES, WIDTH, MLP_WIDTH), np.float32))
    scales = jnp.abs(kernels).max(1) / 127
    stored = {
        "float32": kernels,
        "bfloat16": kernels.astype(jnp.bfloat16),
        "int8": jnp.round(kernels / scales[:, None]).astype(jnp.int8),
    }
    contestants: dict[str, tuple[str, Product]] = {
        "float32": ("float32", lambda x, w, s: x @ w),
        "bfloat16, convert": ("bfloat16", lambda x, w, s: x @ w.astype(x.dtype)),
        "bfloat16, sum": ("bfloat16", lambda x, w, s: (x[:, :, None] * w.astype(x.dtype)).sum(1)),
        "bfloat16, native": ("bfloat16", lambda x, w, s: jax.lax.dot(
            x.astype(w.dtype), w, preferred_element_type=jnp.float32)),
        "int8, convert": ("int8", lambda x, w, s: (x @ w.astype(x.dtype)) * s),
        "int8, sum": ("int8", lambda x, w, s: (x[:, :, None] * w.astype(x.dtype)).sum(1) * s),
        "int8, native": ("int8", quantised_product),
    }  # fmt: skip
    figures = {}
    print(f"{'weights':<18} {'rows':>4} {'ms':>7} {'CPU ms':>7}")
    for num_rows in map(int, args.rows.split(",")):
        x = jnp.asarray(rng.standard_normal((num_rows, WIDTH), np.float32))
        for name, (dtype, product) in contestants.items():
            inputs = x, list(stored[dtype]), list(scales)
            run = jax.jit(lambda x, kernels, scales, product=product: chain(product, x, kernels, scales))
            jax.block_until_ready(run(*inputs))
            times = [
                clock(lambda run=run, inputs=inputs: jax.block_until_ready(run(*inputs)), 1)
                for _ in range(args.repeats)
            ]
            wall_ms, cpu_ms = (1e3 * min(column) for column in zip(*times, strict=True))
            print(f"{name:<18} {num_rows:>4} {wall_ms:7.1f} {cpu_ms:7.1f}", flush=True)
            figures[f"ms {name}, {num_rows}"], figures[f"cpu_ms {name}, {num_rows}"] = wall_ms, cpu_ms
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


def chain(product: Product, x: jax.Array, kernels: list[jax.Array], scales: list[jax.Array]) -> jax.Array:
    """Products in sequence: each depends on the one before, as layers do."""
    for kernel, scale in zip(kernels, scales, strict=True):
        x = x + jnp.tanh(product(x, kernel, scale))[:, :WIDTH]
    return x


def quantised_product(x: jax.Array, kernel: jax.Array, scale: jax.Array) -> jax.Array:
    """float32[R, D] times int8[D, F] with a scale of each column; rows are quantised likewise."""
    row_scale = jnp.abs(x).max(-1, keepdims=True) / 127
    rows = jnp.round(x / row_scale).astype(jnp.int8)
    return jax.lax.dot(rows, kernel, preferred_element_type=jnp.int32) * row_scale * scale


if __name__ == "__main__":
    main()
