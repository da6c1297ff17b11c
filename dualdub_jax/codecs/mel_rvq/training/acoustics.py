"""The phase that trains the acoustics renderer; encoder, codebooks and decoder are frozen.

The encoder's input is augmented to acoustics that differ from the target's (more reverberation and noise, or
less reverberation), so that the renderer follows the given acoustics and not those that the tokens carry.
Source: our choice, the counterpart of speaker perturbation (speaker_perturbation.py).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.mel_rvq.networks import CodecModules
from dualdub_jax.codecs.mel_rvq.training.tokens import (
    crop_reference,
    full_mask,
    phase_settings,
    prepare_batch,
)
from dualdub_jax.config import Config
from dualdub_jax.dsp.mel import STD_LOG_MEL
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.training.initial_values import with_values
from dualdub_jax.training.optimizer import make_optimizer
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.state import TrainState, first_state, next_state
from dualdub_jax.types import Stream

PyTree = Any  # parameters of the renderer, or variables of the codec: nested dictionaries of arrays
Batch = dict[str, jax.Array]  # the fields of `prepare_batch`
Metrics = dict[str, jax.Array]

_RT60_S = (0.1, 0.8)  # of added reverberation
_MIN_RT60_RATIO = 1.2  # of added to existing reverberation; below, the acoustics hardly change
_PREDELAY_S = 0.004  # from the direct sound to the tail
# Energy of a tail of 0.8 s relative to the direct sound, proportional to length. Speech is recorded closer.
_TAIL_DB = {"speech": -9.0, "background": -3.0}
_TAIL_SPREAD_DB = 2.0  # standard deviation
_LONGER_TARGET_RATE, _LONGER_INPUT_RATE = 0.5, 0.5  # fractions of examples
_NOISE_RATE, _NOISE_DBFS = 0.3, (-70.0, -40.0)  # of noise added to the encoder's input


def acoustics_phase(
    config: Config,
    stream: Stream,
    codec_variables: PyTree,
    make_batches: Callable[[], Any],
    initial: PyTree | None = None,
) -> Phase:
    """Trains the acoustics renderer.

    Args:
        config: of the run.
        stream: whose codec; it has `acoustics_num_blocks`.
        codec_variables: result of `tokens_phase`; frozen.
        make_batches: as for `tokens_phase`; examples with unknown acoustics are not scored.
        initial: parameters, or some of them, to start from; None: random values.

    Returns:
        The phase `codec_acoustics_<stream>`; its result is the moving average of the renderer's parameters.
    """
    codec = config.streams[stream].codec
    training = codec.training
    modules = CodecModules(codec)
    optimizer = make_optimizer(training.acoustics_optimizer, training.acoustics_num_steps)
    ema_decay = training.acoustics_optimizer.ema_decay

    def init(rng: jax.Array, initial: PyTree | None) -> TrainState:
        return first_state(with_values(modules.init_acoustics(rng), initial), optimizer)

    def step(state: TrainState, batch: Batch, rng: jax.Array, frozen: PyTree) -> tuple[TrainState, Metrics]:
        waveform = constrain(batch["waveform"], "batch", None)
        mask = full_mask(waveform, codec)
        augmented, target, acoustics = augment_acoustics(
            waveform, batch["acoustics"], rng, stream, codec.sample_rate_hz
        )
        tokens = modules.encode(frozen, augmented, mask)
        speaker = None
        if codec.speaker_dim:
            crop_key = jax.random.fold_in(rng, 1)
            reference, voice_mask = crop_reference(
                batch["voice"], batch["voice_mask"], training.crop_frames, crop_key
            )
            has_voice = jnp.any(voice_mask, axis=1)
            speaker = modules.encode_speaker(frozen, reference, voice_mask, has_voice)
        decoded, _ = modules.decode_tokens(frozen, tokens, mask, speaker)
        is_known = jnp.isfinite(acoustics).all(1)[:, None, None]
        num_known = jnp.maximum(is_known.sum() * decoded[0].size, 1)
        target_mel = modules.log_mel(target)

        def distance(mel: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(is_known, jnp.abs(mel - target_mel), 0.0)) / num_known

        def loss_fn(params: PyTree) -> tuple[jax.Array, Metrics]:
            mel = modules.render_acoustics({"acoustics_renderer": params}, decoded, mask, acoustics)
            mel_l1 = distance(mel)
            return mel_l1 / STD_LOG_MEL, {"mel_l1": mel_l1, "mel_l1_unrendered": distance(decoded)}

        (loss, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        state, _ = next_state(state, grads, optimizer, ema_decay)
        return state, metrics | {"loss": loss}

    return Phase(
        name=f"codec_acoustics_{stream}",
        num_steps=training.acoustics_num_steps,
        settings=phase_settings(config, stream, "acoustics"),
        init=init,
        initial=initial,
        frozen=codec_variables,
        step=step,
        make_batches=make_batches,
        prepare=prepare_batch,
        parameters=lambda state: state.ema_params,
    )


def augment_acoustics(
    waveform: jax.Array, acoustics: jax.Array, rng: jax.Array, stream: Stream, sample_rate_hz: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Augments acoustics of the encoder's input and, independently, of the target.

    Args:
        waveform: float32[B, S] in [-1, 1].
        acoustics: float32[B, 2], see `Codec.decode`; NaN: unknown.
        rng: a key.
        stream: selects the ratio of direct to reverberant energy.
        sample_rate_hz: of the waveform.

    Returns:
        Encoder input float32[B, S], target float32[B, S], and acoustics of the target float32[B, 2].
    """
    target_key, input_key, target_rate_key, input_rate_key, *noise_keys = jax.random.split(rng, 7)
    num_clips = waveform.shape[0]
    rt60_s = jax.random.uniform(target_rate_key, (num_clips,), minval=_RT60_S[0], maxval=_RT60_S[1])
    is_longer = (rt60_s > _MIN_RT60_RATIO * acoustics[:, 0]) & jax.random.bernoulli(
        jax.random.fold_in(target_rate_key, 1), _LONGER_TARGET_RATE, (num_clips,)
    )
    longer = _reverberate(waveform, rt60_s, target_key, stream, sample_rate_hz)
    target = jnp.where(is_longer[:, None], longer, waveform)
    acoustics = jnp.stack([jnp.where(is_longer, rt60_s, acoustics[:, 0]), acoustics[:, 1]], axis=1)

    input_rt60_s = jax.random.uniform(input_rate_key, (num_clips,), minval=_RT60_S[0], maxval=_RT60_S[1])
    is_augmented = jax.random.bernoulli(
        jax.random.fold_in(input_rate_key, 1), _LONGER_INPUT_RATE, (num_clips,)
    )
    # For half of the reverberated targets, input and target have the same acoustics.
    augmented = jnp.where((is_longer & is_augmented)[:, None], target, waveform)
    reverberated = _reverberate(waveform, input_rt60_s, input_key, stream, sample_rate_hz)
    augmented = jnp.where((~is_longer & is_augmented)[:, None], reverberated, augmented)
    rate_key, level_key, noise_key = noise_keys
    dbfs = jax.random.uniform(level_key, (num_clips, 1), minval=_NOISE_DBFS[0], maxval=_NOISE_DBFS[1])
    noise = jax.random.normal(noise_key, waveform.shape) * 10.0 ** (dbfs / 20.0)
    is_noisy = jax.random.bernoulli(rate_key, _NOISE_RATE, (num_clips, 1))
    return augmented + jnp.where(is_noisy, noise, 0.0), target, acoustics


def _reverberate(
    waveform: jax.Array, rt60_s: jax.Array, rng: jax.Array, stream: Stream, sample_rate_hz: int
) -> jax.Array:
    """Convolves with an exponentially decaying noise tail and adds it: float32[B, S] -> float32[B, S]."""
    tail_key, level_key = jax.random.split(rng)
    num_samples = int(_RT60_S[1] * sample_rate_hz)
    seconds = np.arange(num_samples, dtype=np.float32) / sample_rate_hz
    decay = jnp.exp(-np.log(1e3) * seconds / rt60_s[:, None])
    tail = jax.random.normal(tail_key, decay.shape) * decay * (seconds >= _PREDELAY_S)
    spread_db = _TAIL_SPREAD_DB * jax.random.normal(level_key, (waveform.shape[0], 1))
    energy = 10.0 ** ((_TAIL_DB[stream] + spread_db) / 10.0) * rt60_s[:, None] / _RT60_S[1]
    tail = tail * jnp.sqrt(energy / jnp.sum(tail**2, axis=1, keepdims=True))
    size = 1 << (waveform.shape[1] + num_samples - 2).bit_length()
    wet = jnp.fft.irfft(jnp.fft.rfft(waveform, size) * jnp.fft.rfft(tail, size), size)
    return waveform + wet[:, : waveform.shape[1]]
