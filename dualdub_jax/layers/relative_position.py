"""Buckets of relative positions (T5's), as BEATs and WavLM use them."""

import math

import numpy as np


def relative_buckets(offset: np.ndarray, num_buckets: int, max_distance: int) -> np.ndarray:
    """Buckets of relative positions: exact for small distances, logarithmic for large ones.

    Args:
        offset: int[...], key position minus query position.
        num_buckets: in total; half for each direction.
        max_distance: larger distances share the last bucket.

    Returns:
        int[...], in [0, num_buckets).
    """
    per_side = num_buckets // 2
    num_exact = per_side // 2
    distance = np.abs(offset)
    # float32 as in the original: rounding determines the bucket at boundaries.
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(num_exact))
    far = num_exact + (
        ratio / np.float32(math.log(max_distance / num_exact)) * (per_side - num_exact)
    ).astype(np.int64)
    bucket = np.where(distance < num_exact, distance, np.minimum(far, per_side - 1))
    return bucket + per_side * (offset > 0)
