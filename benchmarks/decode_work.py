"""What the contestants of `decode.py` have in common: what they run, and the memory that a frame reads."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import train_step

from dualdub_jax.config import Config, ModelConfig
from dualdub_jax.types import STREAMS

COMPARED_FRAMES = 25
# Of the other contestants, whose whole windows would take minutes. Their pasts are then shorter, which is to
# their advantage.
TIMED_FRAMES = 100
BANDWIDTH_BYTES = 256 << 20
Shapes = dict[str, tuple[int, ...]]  # of parameters, by path


class Work(NamedTuple):
    """What a contestant runs.

    Attributes:
        window: generates `num_frames` and waits for them.
        first: generates the first frame only, encoders included.
        num_frames: of the window, or the first of them.
        frame_bytes: read for one frame: weights once, keys and values of every clip.
        read: reads `BANDWIDTH_BYTES`, one function for each way.
    """

    window: Callable[[], Any]
    first: Callable[[], Any]
    num_frames: int
    frame_bytes: float
    read: tuple[Callable[[], Any], ...]


def bytes_of_frame(config: Config, shapes: Shapes, batch_size: int) -> float:
    """Read for one frame: backbone, causal aligner and heads once, caches of every clip in full."""
    grid, aligner = config.grid, config.model.aligner
    parts = (*(f"{stream}_head/{part}" for stream in STREAMS for part in ("project_in", "hidden", "out")),
             "aligner/causal/")  # fmt: skip
    weights = 4 * sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(parts))
    pasts = 4 * 4 * batch_size * grid.num_frames * aligner.num_heads * aligner.head_dim
    length = grid.num_script_tokens + config.model.num_speaker_vectors + grid.num_frames
    backbone = {name: shape for name, shape in shapes.items() if name.startswith("backbone/")}
    return weights + pasts + bytes_of_backbone(config.model, backbone, batch_size, length)


def bytes_of_backbone(config: ModelConfig, shapes: Shapes, batch_size: int, length: int) -> float:
    """Weights once, and the keys and values of every clip in full."""
    cache = 2 * config.num_layers * batch_size * length * config.num_kv_heads * config.head_dim
    return 4 * (sum(map(math.prod, shapes.values())) + cache)


def shapes_of(params: Any) -> Shapes:
    """The shapes of our parameters."""
    return {name: array.shape for name, array in train_step.flat(params, "").items()}


def our_reads() -> tuple[Callable[[], Any], ...]:
    """Two ways of reading memory with JAX."""
    matrix = jnp.ones((BANDWIDTH_BYTES // 4 // 4096, 4096))
    vector = jnp.ones(4096)
    add, multiply = jax.jit(jnp.sum), jax.jit(jnp.matmul)
    return lambda: add(matrix).block_until_ready(), lambda: multiply(matrix, vector).block_until_ready()


def torch_reads() -> tuple[Callable[[], Any], ...]:
    """Two ways of reading memory with PyTorch."""
    import torch

    matrix, vector = torch.ones(BANDWIDTH_BYTES // 4 // 4096, 4096), torch.ones(4096)
    return lambda: matrix.sum(), lambda: matrix @ vector


def part_of(arrays: dict[str, np.ndarray], prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays whose names begin with a prefix, without it."""
    return ((name.removeprefix(prefix), x) for name, x in arrays.items() if name.startswith(prefix))
