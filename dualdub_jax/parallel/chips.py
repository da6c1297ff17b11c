"""Rated constants of accelerators.

Sources: Google Cloud's TPU system architecture pages (https://cloud.google.com/tpu/docs/v5e, /v5p, /v6e:
peak rate, memory, bandwidth of memory and interconnect), and "How to Scale Your Model", chapter 2
(https://jax-ml.github.io/scaling-book/tpus: links a chip, one-way bandwidth of a link, matrix unit, vector
unit: 8 x 128 lanes of 4 operations a cycle; the clock is derived from the rated matrix products).
All are peak values: 90% of one is a good result in practice.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """One kind of accelerator, per JAX device.

    Attributes:
        name: as in topology names, such as "v5e".
        flops_per_s: peak of bf16 matrix products, FLOP/s.
        hbm_bytes: memory capacity.
        hbm_bytes_per_s: memory bandwidth.
        link_bytes_per_s: one-way bandwidth of an interconnect link; each torus axis has two links.
        hop_s: latency of one hop, seconds.
        tile: edge length of the matrix unit.
        num_axes: dimensions of the interconnect's torus.
        vector_ops_per_s: peak of float32 vector operations: lanes times operations per cycle times clock.
        wraps_at: an axis is a ring (has wraparound links) if its length is a multiple of this.
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

# Headroom that a compiled program must leave: runtime, prefetched batch, fragmentation.
RESERVED_FRACTION_OF_HBM = 0.08
