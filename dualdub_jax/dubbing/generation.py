"""Generation of one window: a single scan over frames that emits both streams, with caches."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dualdub_jax.dsp.acoustics import bin_values
from dualdub_jax.dubbing.sampling import StreamSampling, sample
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.models.dualdub import DecodeCache, DualDub
from dualdub_jax.models.heads import Head
from dualdub_jax.types import CONDITIONS, STREAMS, Batch

PyTree = Any
Guidance = tuple[jax.Array, jax.Array]  # scale, and how many codebooks of a frame it is for


def generate_tokens(
    model: DualDub,
    params: PyTree,
    batch: Batch,
    num_context_frames: jax.Array,
    rng: jax.Array,
    sampling: Mapping[str, StreamSampling],
    guidance_scale: jax.Array | None = None,
    guidance_codebooks: jax.Array | int = 0,
) -> dict[str, jax.Array]:
    """Tokens of both streams for a whole window.

    Pure; jit it with `model` static. Classifier-free guidance (Ho and Salimans, 2022) runs a second row
    without video, script, voice and room for each example and extrapolates away from it.

    Args:
        model: the module.
        params: its parameters.
        batch: the conditions, and in `speech_tokens` and `background_tokens` the context: the first
            `num_context_frames` frames are taken as they are. A stream whose `has_*` flag is False is
            not generated.
        num_context_frames: int32[].
        rng: key; frame, stream and codebook each draw from their own.
        sampling: by stream.
        guidance_scale: float32[]; None: no guidance and half the work.
        guidance_codebooks: int32[], how many codebooks of each frame are guided, from the first; 0: all.
            Guided late ones make speech that is harder to understand (benchmarks/sampling_settings.py).

    Returns:
        int32[B, T, Q] by stream, zeros for a stream that is absent.
    """
    num_frames = batch.frame_mask.shape[1]
    given = {"speech": batch.speech_tokens, "background": batch.background_tokens}
    rows = batch if guidance_scale is None else _with_unconditional_rows(batch)
    variables = {"params": params}
    conditions = model.apply(variables, rows, method="encode")
    cache = model.apply(variables, conditions, method="start")
    next_frame = nn.apply(_next_frame, model)
    guidance = None if guidance_scale is None else (guidance_scale, jnp.asarray(guidance_codebooks))

    def frame(carry: tuple[DecodeCache, dict], t: jax.Array) -> tuple[tuple, dict]:
        cache, previous = carry
        codes, cache = next_frame(
            variables, conditions, cache, t, previous, jax.random.fold_in(rng, t), sampling, guidance
        )
        is_given = t < num_context_frames
        codes = {
            stream: jnp.where(is_given, jax.lax.dynamic_index_in_dim(given[stream], t, 1, False), drawn)
            for stream, drawn in codes.items()
        }
        return (cache, codes), codes

    first = {stream: jnp.zeros_like(tokens[:, 0]) for stream, tokens in given.items()}
    _, codes = jax.lax.scan(frame, (cache, first), jnp.arange(num_frames))
    present = {"speech": batch.has_speech, "background": batch.has_background}
    return {
        stream: jnp.where(present[stream][:, None, None], jnp.swapaxes(tokens, 0, 1), 0)
        for stream, tokens in codes.items()
    }


def sample_acoustics(model: DualDub, params: PyTree, batch: Batch, rng: jax.Array) -> jax.Array:
    """A room that goes with the video, drawn from what the model takes to be likely.

    Args:
        model: the module, one that is told of rooms.
        params: its parameters.
        batch: of it the video.
        rng: key.

    Returns:
        float32[B, 2] as `Batch.room`.
    """
    logits = model.apply({"params": params}, batch, method="acoustics_logits")
    return bin_values(jax.random.categorical(rng, logits), logits.shape[-1])


def _next_frame(
    model: DualDub,
    conditions: Conditions,
    cache: DecodeCache,
    t: jax.Array,
    previous: dict[str, jax.Array],
    rng: jax.Array,
    sampling: Mapping[str, StreamSampling],
    guidance: Guidance | None,
) -> tuple[dict[str, jax.Array], DecodeCache]:
    copies = 1 if guidance is None else 2
    previous = {stream: jnp.tile(codes, (copies, 1)) for stream, codes in previous.items()}
    state, cache = model.advance(conditions, cache, t, previous)
    rngs = dict(zip(STREAMS, jax.random.split(rng), strict=True))
    codes = {
        stream: _sample_codebooks(model.head(stream), state, rngs[stream], sampling[stream], guidance)
        for stream in STREAMS
    }
    return codes, cache


def _sample_codebooks(
    head: Head,
    state: jax.Array,
    rng: jax.Array,
    how: StreamSampling,
    guidance: Guidance | None,
) -> jax.Array:
    """float[B, D] (or [2 B, D] with guidance) -> int32[B, Q], each codebook given those before it."""
    carry, codes = head.begin(state), []
    for q in range(head.num_codebooks):
        logits = head.next_logits(carry, q)
        if guidance is not None:
            scale, num_guided = guidance
            conditional, unconditional = jnp.split(logits, 2)
            scale = jnp.where((num_guided == 0) | (q < num_guided), scale, 1.0)
            logits = unconditional + scale * (conditional - unconditional)
        codes.append(sample(jax.random.fold_in(rng, q), logits, how))
        rows = codes[-1] if guidance is None else jnp.tile(codes[-1], 2)
        carry = head.observe(carry, rows, q)
    return jnp.stack(codes, axis=-1)


def _with_unconditional_rows(batch: Batch) -> Batch:
    absent = jnp.zeros_like(batch.has_video)
    without = batch.replace(**{f"has_{part}": absent for part in CONDITIONS})
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch, without)
