"""Generation from unstacked parameters is that from stacked ones, and copies neither weights nor caches."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.config import SamplingConfig
from dualdub_jax.dubbing.generation import generate_frames, start_window
from dualdub_jax.dubbing.sampling import stream_sampling
from dualdub_jax.models.decoding_params import decoding_params
from dualdub_jax.models.dualdub import make_model
from tests.tiny import random_batch, random_params, tiny_config

CONFIG = tiny_config()
MODEL = make_model(CONFIG)
LAYOUTS = ("stacked", "unstacked")
# Elements of the smallest weight or cache of a clip: 24 x 16 of a head, 22 x 16 of an attention. Activations
# of one frame are smaller.
SMALLEST = 300


@pytest.fixture(scope="module")
def params():
    stacked = random_params(CONFIG)
    return {"stacked": stacked, "unstacked": decoding_params(MODEL, stacked)}


def generate(params, batch):
    """The tokens of a window, and the text of the program that samples them."""
    inputs = jnp.int32(0), CONFIG.grid.num_frames, jnp.int32(2), jax.random.key(0)
    sampling = stream_sampling(SamplingConfig())
    start = jax.jit(functools.partial(start_window, MODEL, is_guided=False))
    conditions, carry = start(params, batch)
    program = jax.jit(functools.partial(generate_frames, MODEL), static_argnums=5)
    program = program.lower(params, batch, conditions, carry, *inputs, sampling).compile()
    first, _, *others = inputs
    return program(params, batch, conditions, carry, first, *others, sampling)[1], program.as_text()


def copies(program):
    """Names of instructions of loops that copy as many elements as a weight or a cache has."""
    found, is_loop = [], False
    for line in program.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            is_loop = not line.startswith(("ENTRY", "%fused", "HloModule"))
        match = re.match(r"\s+(?:ROOT )?%(\S+) = \w+\[([\d,]+)\]", line)
        if is_loop and match and math.prod(map(int, match[2].split(","))) >= SMALLEST:
            name = match[1].replace("dynamic-update-slice_fusion", "")
            found += [name] if re.search("copy|slice|transpose", name) else []
    return found


@pytest.mark.parametrize("num_clips", [1, 3])
def test_tokens_are_equal_and_stacked_arrays_are_copied(params, num_clips):
    batch = random_batch(CONFIG, num_clips)
    made = {layout: generate(params[layout], batch) for layout in LAYOUTS}
    (tokens, program), (others, other_program) = made.values()
    for stream, codes in tokens.items():
        np.testing.assert_array_equal(codes, others[stream])
    assert copies(program)
    assert not copies(other_program)
