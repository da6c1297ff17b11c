"""Generation of one window: one scan over frames with caches, which emits both streams."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from dualdub_jax.dsp.acoustics_bins import bin_values
from dualdub_jax.dubbing.sampling import StreamSampling, draw_noise, sample
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.models.dualdub import DecodeCache, DualDub
from dualdub_jax.models.heads import Head
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import CONDITIONS, STREAMS, Array, Batch

PyTree = Any  # the model's parameters: nested dictionaries of arrays
_BANNED_NATS = 1e4
Carry = tuple[DecodeCache, dict[str, jax.Array]]  # caches, and codes int32[B, Q] of the frame before
Guidance = tuple[jax.Array, jax.Array]  # scale, and the number of guided codebooks of a frame; 0: all


@flax.struct.dataclass
class Steering:
    """Where in a window its script is spoken; of all examples of a batch.

    The position in the script is that of the script aligner (models/aligners/script.py), which is trained to
    rest on the begin marker before the words and on the end marker behind them. Its bounds therefore decide
    when the words are spoken; `silent_codes` break the silence where a video without visible speech would
    let the model remain silent. Source: our choice.

    Attributes:
        is_silent: bool[T], frames whose speech is given, by `speech_tokens` of the batch.
        due_position: float32[T], position in the script, in tokens, at which a frame is late.
        least_position: float32[T], lower bound of the position before each frame.
        most_position: float32[T], upper bound.
        silent_codes: bool[V], first codes of silence, which are not sampled in a late frame.
    """

    is_silent: jax.Array
    due_position: jax.Array
    least_position: jax.Array
    most_position: jax.Array
    silent_codes: jax.Array


@checked
def generate_tokens(
    model: DualDub,
    params: PyTree,
    batch: Batch,
    num_context_frames: Int[Array, ""],
    rng: jax.Array,
    sampling: Mapping[str, StreamSampling],
    guidance_scale: Float[Array, ""] | None = None,
    guidance_codebooks: Int[Array, ""] | int = 0,
    steering: Steering | None = None,
) -> dict[str, Int[Array, "B T _"]]:
    """Generates tokens of both streams for one window.

    Pure; to be jitted with `model` static. Classifier-free guidance (Ho and Salimans, 2022) adds an
    unconditional row per example, without video, script, voice and acoustics, and extrapolates from its
    logits.

    Args:
        model: the module.
        params: its parameters.
        batch: the conditions; the first `num_context_frames` frames of `speech_tokens` and
            `background_tokens` are the context, which is copied to the output. A stream whose `has_…` flag is
            False is not generated.
        num_context_frames: int32[].
        rng: key, from which a key per frame, stream and codebook is derived.
        sampling: by stream.
        guidance_scale: float32[]; None: no guidance, at half the cost.
        guidance_codebooks: int32[], number of guided codebooks of each frame, from the first; 0: all.
            Guidance of later codebooks reduces intelligibility (benchmarks/sampling_settings.py).
        steering: where the script is spoken; None: the model chooses.

    Returns:
        By stream, int32[B, T, Q]; zeros for an absent stream.
    """
    num_frames = batch.frame_mask.shape[1]
    guidance = None if guidance_scale is None else (guidance_scale, jnp.asarray(guidance_codebooks))
    conditions, carry = start_window(model, params, batch, is_guided=guidance is not None)
    _, codes = generate_frames(
        model, params, batch, conditions, carry, 0, num_frames, num_context_frames, rng, sampling, guidance,
        steering,
    )  # fmt: skip
    return codes


def start_window(
    model: DualDub, params: PyTree, batch: Batch, *, is_guided: bool
) -> tuple[Conditions, Carry]:
    """Encodes the conditions of a window and its prefix; to be jitted with `model` and `is_guided` static.

    Args:
        model: the module.
        params: its parameters.
        batch: as for `generate_tokens`.
        is_guided: whether there is classifier-free guidance.

    Returns:
        The conditions, and the state before the first frame, of `generate_frames`.
    """
    rows = _with_unconditional_rows(batch) if is_guided else batch
    variables = {"params": params}
    conditions = model.apply(variables, rows, method="encode")
    cache = model.apply(variables, conditions, method="start")
    tokens = {"speech": batch.speech_tokens, "background": batch.background_tokens}
    return conditions, (cache, {stream: jnp.zeros_like(given[:, 0]) for stream, given in tokens.items()})


def generate_frames(
    model: DualDub,
    params: PyTree,
    batch: Batch,
    conditions: Conditions,
    carry: Carry,
    first_frame: Int[Array, ""] | int,
    num_frames: int,
    num_context_frames: Int[Array, ""],
    rng: jax.Array,
    sampling: Mapping[str, StreamSampling],
    guidance: Guidance | None = None,
    steering: Steering | None = None,
) -> tuple[Carry, dict[str, Int[Array, "B t _"]]]:
    """Generates consecutive frames of a window; to be jitted with `model` and `num_frames` static.

    Args:
        model, params, batch, num_context_frames, rng, sampling, steering: as for `generate_tokens`.
        conditions, carry: of `start_window`, or of the frames before.
        first_frame: int32[].
        num_frames: t; those behind the window's end are arbitrary.
        guidance: scale and number of guided codebooks; None: no guidance.

    Returns:
        The state behind the frames; and by stream, int32[B, t, Q], zeros for an absent stream.
    """
    given = {"speech": batch.speech_tokens, "background": batch.background_tokens}
    variables, next_frame = {"params": params}, nn.apply(_next_frame, model)

    def frame(
        carry: Carry, inputs: tuple[jax.Array, dict[str, jax.Array]]
    ) -> tuple[Carry, dict[str, jax.Array]]:
        (t, keys), (cache, previous) = inputs, carry
        is_given, banned = dict.fromkeys(STREAMS, t < num_context_frames), None
        if steering is not None:
            cache, banned = _steer(cache, t, steering)
            is_given["speech"] |= steering.is_silent[t]
        codes, cache = next_frame(variables, conditions, cache, t, previous, keys, sampling, guidance, banned)
        codes = {
            stream: jnp.where(
                is_given[stream], jax.lax.dynamic_index_in_dim(given[stream], t, 1, False), sampled
            )
            for stream, sampled in codes.items()
        }
        return (cache, codes), codes

    frames = first_frame + jnp.arange(num_frames)
    num_codebooks = {stream: tokens.shape[-1] for stream, tokens in given.items()}
    # Derived for all frames at once: in the loop, each key would be a handful of tiny kernels.
    keys = jax.vmap(functools.partial(_frame_keys, num_codebooks, rng))(frames)
    carry, codes = jax.lax.scan(frame, carry, (frames, keys))
    present = {"speech": batch.has_speech, "background": batch.has_background}
    return carry, {
        stream: jnp.where(present[stream][:, None, None], jnp.swapaxes(tokens, 0, 1), 0)
        for stream, tokens in codes.items()
    }


@checked
def sample_acoustics(model: DualDub, params: PyTree, batch: Batch, rng: jax.Array) -> Float[Array, "B 2"]:
    """Samples room acoustics from the model's prediction from video.

    Args:
        model: the module, with acoustics conditioning.
        params: its parameters.
        batch: whose video is read.
        rng: key.

    Returns:
        float32[B, 2], see `Batch.acoustics`.
    """
    logits = model.apply({"params": params}, batch, method="acoustics_logits")
    return bin_values(jax.random.categorical(rng, logits), logits.shape[-1])


def _next_frame(
    model: DualDub,
    conditions: Conditions,
    cache: DecodeCache,
    t: jax.Array,
    previous: dict[str, jax.Array],
    keys: dict[str, jax.Array],
    sampling: Mapping[str, StreamSampling],
    guidance: Guidance | None,
    banned: jax.Array | None,
) -> tuple[dict[str, jax.Array], DecodeCache]:
    copies = 1 if guidance is None else 2
    previous = {stream: jnp.tile(codes, (copies, 1)) for stream, codes in previous.items()}
    state, cache = model.advance(conditions, cache, t, previous)
    codes = {
        stream: _sample_codebooks(
            model.head(stream),
            state,
            keys[stream],
            sampling[stream],
            guidance,
            banned if stream == "speech" else None,
        )
        for stream in STREAMS
    }
    return codes, cache


def _frame_keys(num_codebooks: Mapping[str, int], rng: jax.Array, t: jax.Array) -> dict[str, jax.Array]:
    """Keys of a frame's codebooks by stream, [Q] each."""
    rngs = dict(zip(STREAMS, jax.random.split(jax.random.fold_in(rng, t)), strict=True))
    return {
        stream: jax.vmap(functools.partial(jax.random.fold_in, rngs[stream]))(jnp.arange(count))
        for stream, count in num_codebooks.items()
    }


def _steer(cache: DecodeCache, t: jax.Array, steering: Steering) -> tuple[DecodeCache, jax.Array]:
    """Bounds the position in the script; returns also the first codes that are banned, bool[B, V]."""
    position = cache.script_position
    is_late = position < steering.due_position[t]
    bounded = jnp.clip(position, steering.least_position[t], steering.most_position[t])
    return cache._replace(script_position=bounded), is_late[:, None] & steering.silent_codes


def _sample_codebooks(
    head: Head,
    state: jax.Array,
    keys: jax.Array,
    sampling: StreamSampling,
    guidance: Guidance | None,
    banned: jax.Array | None,
) -> jax.Array:
    """Samples codebooks in order: hidden states float[B, D] ([2 B, D] with guidance) -> int32[B, Q].

    `keys` has one of each codebook. `banned` is bool[B, V] ([2 B, V] with guidance), first codes that are not
    sampled; None: none.
    """
    num_examples = len(state) // (1 if guidance is None else 2)
    noise = draw_noise(keys, num_examples, head.codebook_size)
    carry, codes = head.begin(state), []
    for q in range(head.num_codebooks):
        logits = head.next_logits(carry, q)
        if guidance is not None:
            scale, num_guided = guidance
            conditional, unconditional = jnp.split(logits, 2)
            scale = jnp.where((num_guided == 0) | (q < num_guided), scale, 1.0)
            logits = unconditional + scale * (conditional - unconditional)
        if q == 0 and banned is not None:
            # A finite penalty: if every code is banned, none is.
            logits = logits - _BANNED_NATS * banned[: logits.shape[0]]
        codes.append(sample(noise[q], logits, sampling))
        rows = codes[-1] if guidance is None else jnp.tile(codes[-1], 2)
        carry = head.observe(carry, rows, q)
    return jnp.stack(codes, axis=-1)


def _with_unconditional_rows(batch: Batch) -> Batch:
    absent = jnp.zeros_like(batch.has_video)
    without = batch.replace(**{f"has_{part}": absent for part in CONDITIONS})
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch, without)
