"""The phase of a codec's vocoder, on decoded log-mels: all that it will ever be given.

Spectral distances, and with `vocoder_adversarial_weight` an adversary that hears where a mean of spectra is
blurred (discriminator.py). Source: the two weighed against each other as in HiFi-GAN (Kong et al., 2020); the
sources of the parts are named where they are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dualdub_jax.codecs.mel_rvq.networks import CodecModules
from dualdub_jax.codecs.mel_rvq.training.discriminator import (
    Features,
    SpectrogramDiscriminator,
    discriminator_loss,
    generator_losses,
)
from dualdub_jax.codecs.mel_rvq.training.spectral_losses import (
    energy_score,
    multi_resolution_mel_distance,
    multi_resolution_stft_distance,
)
from dualdub_jax.codecs.mel_rvq.training.tokens import (
    full_mask,
    phase_settings,
    prepare_batch,
    vary_level,
)
from dualdub_jax.codecs.mel_rvq.vocoder import PITCH_BINS, VocoderFrames, synthesize
from dualdub_jax.config import Config
from dualdub_jax.dsp.pitch import Pitch, estimate_pitch
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.training.optimizer import make_optimizer
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.state import TrainState, first_state, next_state
from dualdub_jax.types import Stream

PyTree = Any
Metrics = dict[str, jax.Array]

_SPECTRAL_WEIGHTS = np.array([3.0, 0.5, 0.5], np.float32)  # log-mels, spectral convergence, log-magnitude
# (n_fft, hop_length, n_mels): linear spectra alone spend half of their attention above 4 kHz.
_MEL_RESOLUTIONS = ((256, 64, 32), (512, 128, 64), (1024, 256, 80))
_PITCH_WEIGHT, _VOICING_WEIGHT = 0.2, 0.1
_FEATURE_MATCHING_WEIGHT = 2.0  # of features, relative to the adversary's scores


def vocoder_phase(
    config: Config, stream: Stream, codec_variables: PyTree, make_batches: Callable[[], Any]
) -> Phase:
    """Trains the vocoder on what the tokens of a waveform say.

    The adversary, where there is one, is trained along with it and thrown away at the end.

    Args:
        config: of the run.
        stream: which codec.
        codec_variables: what `tokens_phase` handed on; they stay as they are.
        make_batches: as for `tokens_phase`.

    Returns:
        The phase `codec_vocoder_<stream>`; its parameters are the codec's whole variables, those of the
        vocoder averaged over steps.
    """
    codec = config.streams[stream].codec
    training = codec.training
    modules = CodecModules(codec)
    optimizer = make_optimizer(training.vocoder_optimizer, training.vocoder_num_steps)
    discriminator = SpectrogramDiscriminator(codec.sample_rate_hz, _MEL_RESOLUTIONS)
    discriminator_optimizer = make_optimizer(
        training.vocoder_discriminator_optimizer, training.vocoder_num_steps
    )
    has_discriminator = training.vocoder_adversarial_weight > 0.0
    ema_decay = training.vocoder_optimizer.ema_decay
    has_pitch = codec.tonal_source == "pitch"

    def init(rng: jax.Array, _: None) -> TrainState:
        extra = None
        if has_discriminator:
            waveform = jnp.zeros((1, codec.samples_per_frame))
            params = discriminator.init(jax.random.fold_in(rng, 1), waveform)["params"]
            extra = {"params": params, "opt_state": discriminator_optimizer.init(params)}
        return first_state(modules.init_vocoder(rng), optimizer, extra=extra)

    def discriminate(params: PyTree, waveform: jax.Array) -> Features:
        return discriminator.apply({"params": params}, waveform)

    def step(state: TrainState, batch: PyTree, rng: jax.Array, frozen: PyTree) -> tuple[TrainState, Metrics]:
        level_key, *chance_keys = jax.random.split(rng, 3)
        waveform = constrain(vary_level(batch["waveform"], level_key), "batch", None)
        mask = full_mask(waveform, codec)
        mel_mask = jnp.repeat(mask, modules.mel_per_frame, axis=1)
        tokens = modules.encode(frozen, waveform, mask)
        voice = None
        if codec.speaker_dim:
            recording, voice_mask = batch["voice"], batch["voice_mask"]
            has_voice = jnp.any(voice_mask, axis=1)
            voice = modules.encode_speaker(frozen, recording, voice_mask, has_voice)
        mel, hidden = modules.decode_tokens(frozen, tokens, mask, voice)
        pitch = estimate_pitch(waveform, codec.sample_rate_hz, codec.hop_length)

        def sample(frames: VocoderFrames, rng: jax.Array) -> jax.Array:
            """One waveform of those that the frames allow: noise and phase are chance."""
            frame_key, phase_key = jax.random.split(rng)
            first_frame = jax.random.randint(frame_key, (), 0, 1 << 20)
            phase = jax.random.uniform(phase_key, (waveform.shape[0],))
            return synthesize(frames, mel_mask, codec, first_frame, phase)[0]

        def distance(a: jax.Array, b: jax.Array) -> jax.Array:
            convergence, log_stft = multi_resolution_stft_distance(a, b, scale_of=waveform)
            mel_l1 = multi_resolution_mel_distance(a, b, codec.sample_rate_hz, _MEL_RESOLUTIONS)
            return jnp.stack([mel_l1, convergence, log_stft])

        def loss_fn(params: PyTree) -> tuple[jax.Array, tuple[Metrics, jax.Array]]:
            frames = modules.vocoder.apply({"params": params}, mel, hidden, mel_mask)
            if has_pitch:
                # Harmonics must lie on the target's, else the spectral losses say nothing about them; the
                # pitch learns from its own loss alone.
                guess = jax.lax.stop_gradient(frames.log_pitch)
                shaped = frames.replace(log_pitch=jnp.where(pitch.is_voiced, pitch.log_hz, guess))
            else:
                shaped = frames
            samples = tuple(sample(shaped, key) for key in chance_keys)
            scores = energy_score(distance, samples, waveform, training.vocoder_spread)
            loss = jnp.dot(scores, _SPECTRAL_WEIGHTS)
            metrics = dict(zip(("mel_l1", "convergence", "log_stft"), scores, strict=True))
            if has_pitch:
                pitch_loss, voicing_loss, pitch_error = _pitch_losses(frames, pitch)
                loss = loss + _PITCH_WEIGHT * pitch_loss + _VOICING_WEIGHT * voicing_loss
                metrics |= {"pitch_error": pitch_error, "voicing_loss": voicing_loss}
            return loss, (metrics | {"loss": loss}, samples[0])

        if not has_discriminator:
            grads, (metrics, _) = jax.grad(loss_fn, has_aux=True)(state.params)
            return next_state(state, grads, optimizer, ema_decay)[0], metrics
        # From the first step on: under `lax.cond` XLA's CPU backend runs convolutions many times slower.
        judge = state.extra["params"]

        def generator_loss_fn(params: PyTree) -> tuple[jax.Array, tuple[Metrics, jax.Array]]:
            loss, (metrics, generated) = loss_fn(params)
            adversarial, matching = generator_losses(
                discriminate(judge, waveform), discriminate(judge, generated)
            )
            loss += training.vocoder_adversarial_weight * (adversarial + _FEATURE_MATCHING_WEIGHT * matching)
            metrics |= {"loss": loss, "generator_loss": adversarial, "feature_matching": matching}
            return loss, (metrics, generated)

        def discriminator_loss_fn(params: PyTree, generated: jax.Array) -> jax.Array:
            return discriminator_loss(discriminate(params, waveform), discriminate(params, generated))

        grads, (metrics, generated) = jax.grad(generator_loss_fn, has_aux=True)(state.params)
        metrics["discriminator_loss"], judge_grads = jax.value_and_grad(discriminator_loss_fn)(
            judge, generated
        )
        updates, opt_state = discriminator_optimizer.update(judge_grads, state.extra["opt_state"], judge)
        extra = {"params": optax.apply_updates(judge, updates), "opt_state": opt_state}
        return next_state(state, grads, optimizer, ema_decay, extra)[0], metrics

    return Phase(
        name=f"codec_vocoder_{stream}",
        num_steps=training.vocoder_num_steps,
        settings=phase_settings(config, stream, "vocoder"),
        init=init,
        initial=None,
        frozen=codec_variables,
        step=step,
        make_batches=make_batches,
        prepare=prepare_batch,
        parameters=lambda state: state.ema_params,
    )


def _pitch_losses(frames: VocoderFrames, pitch: Pitch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cross entropy of the pitch where voiced, that of the voicing, and the mean absolute log pitch error."""
    voiced = pitch.is_voiced.astype(jnp.float32)
    distance = (pitch.log_hz[..., None] - PITCH_BINS) / (PITCH_BINS[1] - PITCH_BINS[0])
    target = jax.nn.softmax(-0.5 * distance**2)  # a bump of one bin's width
    cross_entropy = optax.softmax_cross_entropy(frames.pitch_logits, target)
    num_voiced = jnp.maximum(jnp.sum(voiced), 1.0)
    pitch_loss = jnp.sum(voiced * cross_entropy) / num_voiced
    voicing_loss = jnp.mean(optax.sigmoid_binary_cross_entropy(frames.voicing_logit, voiced))
    pitch_error = jnp.sum(voiced * jnp.abs(frames.log_pitch - pitch.log_hz)) / num_voiced
    return pitch_loss, voicing_loss, pitch_error
