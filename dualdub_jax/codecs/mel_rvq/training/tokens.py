"""The phase that trains a codec's encoder, codebooks and decoder, and functions that all its phases share.

The phase reconstructs log-mels only, which is cheap; vocoder and acoustics renderer are trained afterwards
(vocoder.py, acoustics.py). Source: our choice.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dualdub_jax.codecs.mel_rvq import rvq
from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.codecs.mel_rvq.networks import CodecModules
from dualdub_jax.codecs.mel_rvq.training.speaker_perturbation import sample_warp, warp
from dualdub_jax.config import Config
from dualdub_jax.dsp.mel import STD_LOG_MEL
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.text.phonemes import LABELS_PER_FRAME, SYMBOLS
from dualdub_jax.training.initial_values import with_values
from dualdub_jax.training.optimizer import make_optimizer
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.settings import Settings, settings_of
from dualdub_jax.training.state import TrainState, first_state, next_state
from dualdub_jax.types import Stream

PyTree = Any  # parameters or variables: nested dictionaries of arrays
Batch = dict[str, jax.Array]  # the fields of `prepare_batch`
Metrics = dict[str, jax.Array]

_COMMITMENT_WEIGHT = 0.25
# An L1 distance alone is minimised by the median, which drops sparse narrow-band tones.
_SQUARED_WEIGHT = 1.0
_KMEANS_BATCHES = 16  # batches of latents that initialise the codebooks
_SILENCE_RATE = 0.03  # fraction of crops replaced by silence, which must decode to silence
_GAIN_DB = (-12.0, 6.0)  # range of random gains
_INPUT_WARP_REACH = 0.2  # of the warp of the encoder's input, log frequency ratio
_SPEAKER_WARP_REACH, _SPEAKER_WARP_RATE = 0.12, 0.5  # of the joint warp of target and reference
_NO_REFERENCE_RATE = 0.1  # fraction of crops decoded without a reference


def tokens_phase(
    config: Config,
    stream: Stream,
    make_batches: Callable[[], Any],
    initial: PyTree | None = None,
) -> Phase:
    """Trains encoder, codebooks and decoder to reconstruct log-mels.

    The first `num_unquantised_steps` run without quantisation; k-means then initialises the codebooks. With
    `phonetic_dim`, a linear classifier predicts the phoneme of each half of a frame from the output of the
    first codebook (after SpeechTokenizer, Zhang et al., 2023, whose teacher is a self-supervised model). With
    `speaker_dim`, the encoder's input is warped at random, and so are target and reference jointly
    (speaker_perturbation.py).

    Args:
        config: of the run.
        stream: whose codec.
        make_batches: see `Phase`; host batches as `dualdub_jax.data_pipeline.loader.make_codec_batches`
            yields them.
        initial: variables of a trained codec, or some of them, from which training starts, quantised from the
            first step on (the phoneme classifier, which is no variable of a codec, starts anew); None: random
            values.

    Returns:
        The phase `codec_tokens_<stream>`; its result is the codec's variables without "vocoder" and
        "acoustics_renderer".

    Raises:
        UserError: a `speaker_dim` for the background stream.
    """
    codec = config.streams[stream].codec
    training = codec.training
    if codec.speaker_dim and stream != "speech":
        raise UserError(
            f"streams.{stream}.codec.speaker_dim={codec.speaker_dim}: only speech has a speaker; set it to 0"
        )
    modules = CodecModules(codec)
    optimizer = make_optimizer(training.optimizer, training.num_steps)
    latents_per_batch = training.batch_size * training.crop_frames
    labels_shape = (LABELS_PER_FRAME, len(SYMBOLS) + 1)
    rate_hz = codec.sample_rate_hz
    networks = ("encoder", "decoder", "speaker_encoder") if codec.speaker_dim else ("encoder", "decoder")
    # With phonemes, the first codebook quantises the leading dimensions of the latents only; the others
    # quantise the residual in all dimensions.
    dims = np.ones((codec.num_codebooks, codec.latent_dim), np.float32)
    if codec.phonetic_dim:
        dims[0, codec.phonetic_dim :] = 0.0

    # Step of the k-means; -1: never.
    start_step = codec.num_unquantised_steps if initial is None else -1

    def init(rng: jax.Array, initial: PyTree | None) -> TrainState:
        variables = with_values(modules.init_tokens(rng), initial)
        params = {name: variables[name] for name in networks}
        if codec.phonetic_dim:
            shape = (codec.latent_dim, math.prod(labels_shape))
            params["phonetic"] = nn.LogicallyPartitioned(jnp.zeros(shape), ("patch", "norm"))
        state = rvq.init_rvq(codec.num_codebooks, codec.codebook_size, codec.latent_dim)
        if initial is not None:
            state = rvq.continued(nn.unbox(variables["codebooks"]), latents_per_batch)
        extra = {
            "rvq": state,
            "latents": jnp.zeros((_KMEANS_BATCHES * latents_per_batch, codec.latent_dim)),
        }
        return first_state(params, optimizer, has_average=False, extra=extra)

    def step(
        state: TrainState, batch: Batch, rng: jax.Array, frozen: None = None
    ) -> tuple[TrainState, Metrics]:
        level_key, start_key, update_key, *speaker_keys = jax.random.split(rng, 7)
        waveform = constrain(vary_level(batch["waveform"], level_key), "batch", None)
        mel = modules.log_mel(waveform)
        mask = full_mask(waveform, codec)
        if codec.speaker_dim:
            input_key, joint_key, drop_key, crop_key = speaker_keys
            shape = (mel.shape[0], codec.n_mels, rate_hz)
            warped = warp(mel, sample_warp(input_key, *shape, _INPUT_WARP_REACH), rate_hz)
            features = modules.features(warped, modules.pitch(waveform), mask)
            joint = sample_warp(joint_key, *shape, _SPEAKER_WARP_REACH, _SPEAKER_WARP_RATE)
            mel = warp(mel, joint, rate_hz)
            crop = crop_reference(batch["voice"], batch["voice_mask"], mask.shape[1], crop_key)
            reference_mel, reference_pitch, reference_mask = modules.reference_features(*crop)
            reference_mel = warp(reference_mel, joint, rate_hz)
            log_hz = reference_pitch.log_hz + joint.log_ratio[:, None]
            is_kept = ~jax.random.bernoulli(drop_key, _NO_REFERENCE_RATE, mel.shape[:1])
            reference = (reference_mel, reference_pitch.replace(log_hz=log_hz), reference_mask)
            has_voice = is_kept & jnp.any(reference_mask, axis=1)
        else:
            features = modules.features(mel, None, mask)
        is_quantised = state.step >= start_step
        rvq_state = jax.lax.cond(
            state.step == start_step,
            lambda: rvq.start(state.extra["rvq"], state.extra["latents"], start_key, dims),
            lambda: state.extra["rvq"],
        )

        def loss_fn(params: PyTree) -> tuple[jax.Array, tuple]:
            latents = modules.encode_features(params, features, mask)
            flat = jax.lax.stop_gradient(latents.reshape(-1, codec.latent_dim))
            updated, codes, quantised = rvq.update(rvq_state, flat, update_key, dims, codec.ema_decay)
            quantised = quantised.reshape(latents.shape)
            commitment = jnp.mean((latents - quantised) ** 2)
            # Straight-through estimator: the gradient of the decoder's input is passed to the encoder.
            quantised = jnp.where(is_quantised, latents + jax.lax.stop_gradient(quantised - latents), latents)
            speaker = None
            if codec.speaker_dim:
                speaker = modules.speaker_encoder.apply(
                    {"params": params["speaker_encoder"]}, *reference, has_voice
                )
            decoded, _ = modules.decoder.apply({"params": params["decoder"]}, quantised, mask, speaker)
            mel_l1 = jnp.mean(jnp.abs(decoded - mel))
            loss = mel_l1 / STD_LOG_MEL + _SQUARED_WEIGHT * jnp.mean(((decoded - mel) / STD_LOG_MEL) ** 2)
            loss = loss + jnp.where(is_quantised, _COMMITMENT_WEIGHT * commitment, 0.0)
            metrics = {"mel_l1": mel_l1, "commitment": commitment}
            if codec.phonetic_dim:
                first = rvq_state.codebooks[0][codes[:, 0]].reshape(latents.shape)
                part = latents * dims[0]
                part = jnp.where(is_quantised, part + jax.lax.stop_gradient(first - part), part)
                logits = (part @ params["phonetic"]).reshape(*part.shape[:2], *labels_shape)
                cross_entropy, accuracy = _phoneme_loss(logits, batch["phonemes"])
                loss = loss + training.phonetic_weight * cross_entropy
                metrics |= {"phonetic_loss": cross_entropy, "phonetic_accuracy": accuracy}
            return loss, (metrics, updated, flat)

        (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        metrics, updated, flat = aux
        slot = state.step % _KMEANS_BATCHES * latents_per_batch
        extra = {
            "rvq": jax.tree.map(lambda new, old: jnp.where(is_quantised, new, old), updated, rvq_state),
            "latents": jax.lax.dynamic_update_slice(state.extra["latents"], flat, (slot, 0)),
        }
        state, _ = next_state(state, grads, optimizer, extra=extra)
        perplexity = rvq.perplexity(updated.counts)
        metrics |= {
            "loss": loss,
            "perplexity_first": perplexity[0],
            "perplexity_last": perplexity[-1],
            "usage": jnp.mean(updated.counts > 0.1 * jnp.mean(updated.counts)),
        }
        return state, metrics

    def parameters(state: TrainState) -> PyTree:
        trained = {name: state.params[name] for name in networks}
        return trained | {"codebooks": state.extra["rvq"].codebooks}

    return Phase(
        name=f"codec_tokens_{stream}",
        num_steps=training.num_steps,
        settings=phase_settings(config, stream, "tokens"),
        init=init,
        initial=initial,
        step=step,
        make_batches=make_batches,
        prepare=prepare_batch,
        parameters=parameters,
        scratch=("extra/latents",),
    )


def phase_settings(config: Config, stream: Stream, part: str) -> Settings:
    """Settings that the result of a phase depends on: those of the tokens and its own.

    Args:
        config: of the run.
        stream: whose codec.
        part: "tokens", "vocoder" or "acoustics".
    """
    own = {"vocoder": ("vocoder_", "tonal_source", "noise_seed"), "acoustics": ("acoustics_",)}
    other_phases = tuple(itertools.chain(*(keys for name, keys in own.items() if name != part)))
    start = {"codecs_from": config.codecs_from} if stream in config.train_codecs else {}
    return settings_of(without=other_phases, seed=config.seed, codec=config.streams[stream].codec, **start)


_FIELDS = ("waveform", "phonemes", "acoustics", "voice", "voice_mask")


def prepare_batch(batch: dict[str, Any]) -> dict[str, np.ndarray]:
    """Selects the fields of a host batch that steps read."""
    return {name: np.asarray(batch[name]) for name in _FIELDS if name in batch}


def _phoneme_loss(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean cross entropy (nats) and accuracy of float32[B, T, 2, C] for int32[B, T * 2], -1 where unknown."""
    labels = labels.reshape(logits.shape[:-1])
    is_known = labels >= 0
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    is_right = jnp.argmax(logits, axis=-1) == labels
    count = jnp.maximum(jnp.sum(is_known), 1)
    return jnp.sum(cross_entropy * is_known) / count, jnp.sum(is_right & is_known) / count


def full_mask(waveform: jax.Array, codec: MelRVQConfig) -> jax.Array:
    """bool[B, T], all True, of float32[B, T * samples_per_frame]."""
    return jnp.ones((waveform.shape[0], waveform.shape[1] // codec.samples_per_frame), bool)


def crop_reference(
    voice: jax.Array, mask: jax.Array, num_frames: int, rng: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Random crops of references: whole references would dominate the cost of a step.

    Args:
        voice: float32[B, R * samples_per_frame].
        mask: bool[B, R], True for covered frames, a prefix of each row.
        num_frames: of a crop; at most R.
        rng: a key.

    Returns:
        float32[B, num_frames * samples_per_frame], bool[B, num_frames].
    """
    num_frames = min(num_frames, mask.shape[1])
    samples_per_frame = voice.shape[1] // mask.shape[1]
    last_start = jnp.maximum(jnp.sum(mask, axis=1) - num_frames, 0)
    starts = jax.random.randint(rng, last_start.shape, 0, last_start + 1)

    def crop(row: jax.Array, row_mask: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        samples = jax.lax.dynamic_slice(row, (start * samples_per_frame,), (num_frames * samples_per_frame,))
        return samples, jax.lax.dynamic_slice(row_mask, (start,), (num_frames,))

    return jax.vmap(crop)(voice, mask, starts)


def vary_level(waveform: jax.Array, rng: jax.Array) -> jax.Array:
    """Applies a random gain per example, and silences a few: float32[B, S] -> float32[B, S]."""
    gain_key, silence_key = jax.random.split(rng)
    shape = (waveform.shape[0], 1)
    low_db, high_db = _GAIN_DB
    gain = 10.0 ** (jax.random.uniform(gain_key, shape, minval=low_db, maxval=high_db) / 20.0)
    gain = jnp.minimum(gain, 1.0 / jnp.maximum(jnp.max(jnp.abs(waveform), axis=1, keepdims=True), 1e-6))
    return waveform * jnp.where(jax.random.bernoulli(silence_key, _SILENCE_RATE, shape), 0.0, gain)
