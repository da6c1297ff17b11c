"""The contestants of `decode.py` that generate with the whole model."""

import functools
import pathlib
import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import train_step
from decode_work import (
    COMPARED_FRAMES,
    TIMED_FRAMES,
    Work,
    bytes_of_frame,
    our_reads,
    part_of,
    shapes_of,
    torch_reads,
)

from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.config import Config
from dualdub_jax.dubbing.generation import generate_frames, generate_tokens, start_window
from dualdub_jax.dubbing.sampling import StreamSampling
from dualdub_jax.models.batch import example_batch
from dualdub_jax.models.decoding_params import decoding_params
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.types import STREAMS, Batch


def our_whole(size: str, batch_size: int, folder: pathlib.Path, threads: int) -> Work:
    """Ours, on random parameters; writes them, the batch, and greedy tokens."""
    config = train_step.config_of(size)
    model = make_model(config)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(
        lambda key: nn.unbox(model.init(key, example_batch(config, 1))["params"]), jax.random.key(0)
    )
    params = jax.tree.map_with_path(
        lambda path, x: train_step.random_parameter(path_name(path), x.shape, rng), shapes
    )
    batch = train_step.random_batch(config, batch_size, False, rng)
    present = {name: value for name, value in vars(batch).items() if value is not None}
    stored, params = params, jax.device_put(decoding_params(model, params))
    batch = jax.device_put(batch)
    compiled = jax.jit(functools.partial(generate_tokens, model))
    first = jax.jit(functools.partial(first_frame, model))

    def generate(is_greedy: bool) -> dict[str, jax.Array]:
        sampling = sampling_of(config, is_greedy)
        return jax.block_until_ready(compiled(params, batch, np.int32(0), jax.random.key(1), sampling))

    np.savez(
        folder / "start.npz",
        **train_step.flat(stored, "params/"),
        **train_step.flat(present, "batch/"),
        **{
            f"tokens/{stream}": np.asarray(codes)[:, :COMPARED_FRAMES]
            for stream, codes in generate(is_greedy=True).items()
        },
    )
    sampling = sampling_of(config, is_greedy=False)
    return Work(
        lambda: generate(is_greedy=False),
        lambda: jax.block_until_ready(first(params, batch, jax.random.key(1), sampling)),
        config.grid.num_frames,
        bytes_of_frame(config, shapes_of(stored), batch_size),
        our_reads(),
    )


def first_frame(
    model: nn.Module, params: Any, batch: Batch, rng: jax.Array, sampling: dict[str, StreamSampling]
) -> dict[str, jax.Array]:
    """The codes of the first frame: conditions, prefix and one step."""
    conditions, carry = start_window(model, params, batch, is_guided=False)
    given = params, batch, conditions, carry
    return generate_frames(model, *given, 0, 1, jnp.int32(0), rng, sampling)[1]


def torch_whole(size: str, batch_size: int, folder: pathlib.Path, threads: int) -> Work:
    """The twin; its greedy tokens must be ours."""
    import torch
    import torch_decode
    import torch_twin

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    start, config = dict(np.load(folder / "start.npz")), train_step.config_of(size)
    model = torch_twin.DualDub(config)
    model.load_state_dict(torch_twin.state_dict_of(dict(part_of(start, "params/"))))
    batch = torch_twin.as_tensors(dict(part_of(start, "batch/")))
    found = torch_decode.TwinDecoder(model, dict.fromkeys(STREAMS, 0.0)).generate(batch, COMPARED_FRAMES)
    for stream, expected in part_of(start, "tokens/"):
        if (share := np.mean(found[stream].numpy() == expected)) < 1:
            sys.exit(f"the twin differs: {share:.1%} of the greedy tokens of {stream} are equal")
    temperatures = {stream: getattr(config.sampling, f"{stream}_temperature") for stream in STREAMS}
    decoder = torch_decode.TwinDecoder(model, temperatures)
    num_frames = min(config.grid.num_frames, TIMED_FRAMES)
    shapes = {name: value.shape for name, value in part_of(start, "params/")}
    return Work(
        lambda: decoder.generate(batch, num_frames),
        lambda: decoder.generate(batch, 1),
        num_frames,
        bytes_of_frame(config, shapes, batch_size),
        torch_reads(),
    )


def sampling_of(config: Config, is_greedy: bool) -> dict[str, StreamSampling]:
    """The config's temperatures without truncation, or greedy."""
    return {
        stream: StreamSampling(
            np.float32(0 if is_greedy else getattr(config.sampling, f"{stream}_temperature")),
            np.int32(0),
            np.float32(1),
        )
        for stream in STREAMS
    }
