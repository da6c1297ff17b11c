"""The phase that teaches a codec the room that it is told: encoder, codebooks and decoder stay as they are.

What the encoder is given is put into other rooms than the one that is told, so that the renderer learns not
to believe the tokens: with more reverberation and more noise than the target has, or with less reverberation.
Source: our choice; the same idea as the voice's in training/voice_perturbation.py.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.mel_rvq.networks import CodecModules
from dualdub_jax.codecs.mel_rvq.training.tokens import (
    full_mask,
    part_of_voice,
    phase_settings,
    prepare_batch,
)
from dualdub_jax.config import Config
from dualdub_jax.dsp.mel import STD_LOG_MEL
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.training.optimizer import make_optimizer
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.state import TrainState, first_state, next_state
from dualdub_jax.types import Stream

PyTree = Any
Metrics = dict[str, jax.Array]

_RT60_S = (0.1, 0.8)  # of the reverberation that is added
_LEAST_LONGER = 1.2  # times the clip's own; a shorter one does not make another room
_GAP_S = 0.004  # from the direct sound to the tail
# Energy of a tail of 0.8 s under the direct sound's; shorter ones have less in proportion. Speech is recorded
# from nearer.
_TAIL_DB = {"speech": -9.0, "background": -3.0}
_TAIL_SPREAD_DB = 2.0  # standard deviation
_LONGER_TARGET_RATE, _LONGER_INPUT_RATE = 0.5, 0.5  # of examples
_NOISE_RATE, _NOISE_DBFS = 0.3, (-70.0, -40.0)  # of what is added to the encoder's input


def acoustics_phase(
    config: Config, stream: Stream, codec_variables: PyTree, make_batches: Callable[[], Any]
) -> Phase:
    """Trains the renderer of rooms.

    Args:
        config: of the run.
        stream: which codec; with `acoustics_num_blocks`.
        codec_variables: what `tokens_phase` handed on; they stay as they are.
        make_batches: as for `tokens_phase`; examples whose room is not known teach nothing.

    Returns:
        The phase `codec_acoustics_<stream>`; its parameters are those of the renderer, averaged over steps.
    """
    codec = config.streams[stream].codec
    training = codec.training
    modules = CodecModules(codec)
    optimizer = make_optimizer(training.acoustics_optimizer, training.acoustics_num_steps)
    ema_decay = training.acoustics_optimizer.ema_decay

    def init(rng: jax.Array, _: None) -> TrainState:
        return first_state(modules.init_acoustics(rng), optimizer)

    def step(state: TrainState, batch: PyTree, rng: jax.Array, frozen: PyTree) -> tuple[TrainState, Metrics]:
        waveform = constrain(batch["waveform"], "batch", None)
        mask = full_mask(waveform, codec)
        given, target, acoustics = other_acoustics(
            waveform, batch["acoustics"], rng, stream, codec.sample_rate_hz
        )
        tokens = modules.encode(frozen, given, mask)
        voice = None
        if codec.speaker_dim:
            part_key = jax.random.fold_in(rng, 1)
            recording, voice_mask = part_of_voice(
                batch["voice"], batch["voice_mask"], training.crop_frames, part_key
            )
            has_voice = jnp.any(voice_mask, axis=1)
            voice = modules.encode_speaker(frozen, recording, voice_mask, has_voice)
        decoded, _ = modules.decode_tokens(frozen, tokens, mask, voice)
        is_known = jnp.isfinite(acoustics).all(1)[:, None, None]
        num_known = jnp.maximum(is_known.sum() * decoded[0].size, 1)
        target_mel = modules.log_mel(target)

        def distance(mel: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(is_known, jnp.abs(mel - target_mel), 0.0)) / num_known

        def loss_fn(params: PyTree) -> tuple[jax.Array, Metrics]:
            mel = modules.render_acoustics({"acoustics_renderer": params}, decoded, mask, acoustics)
            mel_l1 = distance(mel)
            return mel_l1 / STD_LOG_MEL, {"mel_l1": mel_l1, "mel_l1_untold": distance(decoded)}

        (loss, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        state, _ = next_state(state, grads, optimizer, ema_decay)
        return state, metrics | {"loss": loss}

    return Phase(
        name=f"codec_acoustics_{stream}",
        num_steps=training.acoustics_num_steps,
        settings=phase_settings(config, stream, "acoustics"),
        init=init,
        initial=None,
        frozen=codec_variables,
        step=step,
        make_batches=make_batches,
        prepare=prepare_batch,
        parameters=lambda state: state.ema_params,
    )


def other_acoustics(
    waveform: jax.Array, acoustics: jax.Array, rng: jax.Array, stream: Stream, sample_rate_hz: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What the encoder is given, what is to come out, and the room that is told of it.

    Args:
        waveform: float32[B, S].
        acoustics: float32[B, 2], as `Codec.decode` takes it; NaN: not known.
        rng: a key.
        stream: how near the microphone is.
        sample_rate_hz: of the waveform.

    Returns:
        float32[B, S] twice, float32[B, 2].
    """
    target_key, input_key, target_rate_key, input_rate_key, *noise_keys = jax.random.split(rng, 7)
    num_clips = waveform.shape[0]
    rt60_s = jax.random.uniform(target_rate_key, (num_clips,), minval=_RT60_S[0], maxval=_RT60_S[1])
    is_longer = (rt60_s > _LEAST_LONGER * acoustics[:, 0]) & jax.random.bernoulli(
        jax.random.fold_in(target_rate_key, 1), _LONGER_TARGET_RATE, (num_clips,)
    )
    longer = _reverberate(waveform, rt60_s, target_key, stream, sample_rate_hz)
    target = jnp.where(is_longer[:, None], longer, waveform)
    acoustics = jnp.stack([jnp.where(is_longer, rt60_s, acoustics[:, 0]), acoustics[:, 1]], axis=1)

    input_rt60_s = jax.random.uniform(input_rate_key, (num_clips,), minval=_RT60_S[0], maxval=_RT60_S[1])
    is_other = jax.random.bernoulli(jax.random.fold_in(input_rate_key, 1), _LONGER_INPUT_RATE, (num_clips,))
    # Half of the longer targets are also what the encoder is given, as in a room that it hears right.
    dry = jnp.where((is_longer & is_other)[:, None], target, waveform)
    other = _reverberate(waveform, input_rt60_s, input_key, stream, sample_rate_hz)
    given = jnp.where((~is_longer & is_other)[:, None], other, dry)
    rate_key, level_key, hiss_key = noise_keys
    dbfs = jax.random.uniform(level_key, (num_clips, 1), minval=_NOISE_DBFS[0], maxval=_NOISE_DBFS[1])
    hiss = jax.random.normal(hiss_key, waveform.shape) * 10.0 ** (dbfs / 20.0)
    is_noisy = jax.random.bernoulli(rate_key, _NOISE_RATE, (num_clips, 1))
    return given + jnp.where(is_noisy, hiss, 0.0), target, acoustics


def _reverberate(
    waveform: jax.Array, rt60_s: jax.Array, rng: jax.Array, stream: Stream, sample_rate_hz: int
) -> jax.Array:
    """Adds an exponentially falling tail of noise to each sound, float32[B, S] -> float32[B, S]."""
    tail_key, level_key = jax.random.split(rng)
    num_samples = int(_RT60_S[1] * sample_rate_hz)
    seconds = np.arange(num_samples, dtype=np.float32) / sample_rate_hz
    fall = jnp.exp(-np.log(1e3) * seconds / rt60_s[:, None])
    tail = jax.random.normal(tail_key, fall.shape) * fall * (seconds >= _GAP_S)
    spread_db = _TAIL_SPREAD_DB * jax.random.normal(level_key, (waveform.shape[0], 1))
    energy = 10.0 ** ((_TAIL_DB[stream] + spread_db) / 10.0) * rt60_s[:, None] / _RT60_S[1]
    tail = tail * jnp.sqrt(energy / jnp.sum(tail**2, axis=1, keepdims=True))
    size = 1 << (waveform.shape[1] + num_samples - 2).bit_length()
    wet = jnp.fft.irfft(jnp.fft.rfft(waveform, size) * jnp.fft.rfft(tail, size), size)
    return waveform + wet[:, : waveform.shape[1]]
