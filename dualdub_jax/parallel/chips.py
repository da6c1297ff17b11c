"""Constants of accelerators: the one place where they are written down.

Sources: Google Cloud's TPU system architecture pages (https://cloud.google.com/tpu/docs/v5e, /v5p, /v6e:
peak rate, memory, bandwidth of memory and interconnect), and "How to Scale Your Model", chapter 2
(https://jax-ml.github.io/scaling-book/tpus: links a chip, one-way bandwidth of a link, matrix unit, vector
unit: 8 x 128 lanes of 4 operations a cycle; the clock is what the rated matrix products need).
All are rated values: a program that reaches nine tenths of one is a good program.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """One kind of accelerator, per JAX device.

    Attributes:
        name: as topologies are named, such as "v5e".
        flops_per_s: bf16 matrix products.
        hbm_bytes: memory.
        hbm_bytes_per_s: its bandwidth.
        link_bytes_per_s: one link of the interconnect in one direction; two links to each torus axis.
        hop_s: latency of one hop.
        tile: edge of the matrix unit.
        num_axes: of the interconnect's mesh.
        vector_ops_per_s: float32 operations of the vector unit: lanes, times what each does a cycle.
        wraps_at: an axis closes to a ring if its length is a multiple of this.
    """

    name: str
    flops_per_s: float
    hbm_bytes: float
    hbm_bytes_per_s: float
    link_bytes_per_s: float
    vector_ops_per_s: float
    num_axes: int
    wraps_at: int
    hop_s: float = 1e-6
    tile: int = 128


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v5e", 197e12, 16 * 2**30, 819e9, 45e9, 6.1e12, num_axes=2, wraps_at=16),
        Chip("v5p", 459e12, 95 * 2**30, 2765e9, 90e9, 14.3e12, num_axes=3, wraps_at=4),
        Chip("v6e", 918e12, 32 * 2**30, 1640e9, 90e9, 7.2e12, num_axes=2, wraps_at=16, tile=256),
    )
}

# What the compiled program must leave free: the runtime, the next batch on its way in, fragmentation.
RESERVED_FRACTION_OF_HBM = 0.08
