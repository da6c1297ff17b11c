"""The phase that trains a codec's vocoder on log-mels decoded from frozen tokens.

Losses are spectral distances and, with `vocoder_adversarial_weight`, those of a discriminator
(discriminator.py). Source: the combination follows HiFi-GAN (Kong et al., 2020); each part cites its own.
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
from dualdub_jax.training.initial_values import with_values
from dualdub_jax.training.optimizer import make_optimizer
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.state import TrainState, first_state, next_state
from dualdub_jax.types import Stream

PyTree = Any  # parameters or variables: nested dictionaries of arrays
Batch = dict[str, jax.Array]  # the fields of `prepare_batch`
Metrics = dict[str, jax.Array]

_SPECTRAL_WEIGHTS = np.array([3.0, 0.5, 0.5], np.float32)  # log-mels, spectral convergence, log-magnitude
# (n_fft, hop_length, n_mels); linear-frequency distances alone weight the range above 4 kHz by one half.
_MEL_RESOLUTIONS = ((256, 64, 32), (512, 128, 64), (1024, 256, 80))
_PITCH_WEIGHT, _VOICING_WEIGHT = 0.2, 0.1
_FEATURE_MATCHING_WEIGHT = 2.0  # relative to the adversarial loss


def vocoder_phase(
    config: Config,
    stream: Stream,
    codec_variables: PyTree,
    make_batches: Callable[[], Any],
    initial: PyTree | None = None,
) -> Phase:
    """Trains the vocoder on tokens of training waveforms.

    The discriminator, if any, is trained alongside and discarded at the end.

    Args:
        config: of the run.
        stream: whose codec.
        codec_variables: result of `tokens_phase`; frozen.
        make_batches: as for `tokens_phase`.
        initial: parameters, or some of them, to start from; None: random values.

    Returns:
        The phase `codec_vocoder_<stream>`; its result is the moving average of the vocoder's parameters.
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

    def init(rng: jax.Array, initial: PyTree | None) -> TrainState:
        extra = None
        if has_discriminator:
            waveform = jnp.zeros((1, codec.samples_per_frame))
            params = discriminator.init(jax.random.fold_in(rng, 1), waveform)["params"]
            extra = {"params": params, "opt_state": discriminator_optimizer.init(params)}
        return first_state(with_values(modules.init_vocoder(rng), initial), optimizer, extra=extra)

    def discriminate(params: PyTree, waveform: jax.Array) -> Features:
        return discriminator.apply({"params": params}, waveform)

    def step(state: TrainState, batch: Batch, rng: jax.Array, frozen: PyTree) -> tuple[TrainState, Metrics]:
        level_key, *sample_keys = jax.random.split(rng, 3)
        waveform = constrain(vary_level(batch["waveform"], level_key), "batch", None)
        mask = full_mask(waveform, codec)
        mel_mask = jnp.repeat(mask, modules.mel_per_frame, axis=1)
        tokens = modules.encode(frozen, waveform, mask)
        speaker = None
        if codec.speaker_dim:
            reference, voice_mask = batch["voice"], batch["voice_mask"]
            has_voice = jnp.any(voice_mask, axis=1)
            speaker = modules.encode_speaker(frozen, reference, voice_mask, has_voice)
        mel, hidden = modules.decode_tokens(frozen, tokens, mask, speaker)
        pitch = estimate_pitch(waveform, codec.sample_rate_hz, codec.hop_length)

        def sample(frames: VocoderFrames, rng: jax.Array) -> jax.Array:
            """Synthesises a waveform with random noise and random initial phase."""
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
                # Spectral losses are informative only if harmonics coincide with the target's, so synthesis
                # uses the target pitch. The predicted pitch is trained by its own loss.
                predicted = jax.lax.stop_gradient(frames.log_pitch)
                filtered = frames.replace(log_pitch=jnp.where(pitch.is_voiced, pitch.log_hz, predicted))
            else:
                filtered = frames
            samples = tuple(sample(filtered, key) for key in sample_keys)
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
        # Used from the first step on: XLA's CPU backend runs convolutions under `lax.cond` far slower.
        discriminator_params = state.extra["params"]

        def generator_loss_fn(params: PyTree) -> tuple[jax.Array, tuple[Metrics, jax.Array]]:
            loss, (metrics, generated) = loss_fn(params)
            adversarial, matching = generator_losses(
                discriminate(discriminator_params, waveform), discriminate(discriminator_params, generated)
            )
            loss += training.vocoder_adversarial_weight * (adversarial + _FEATURE_MATCHING_WEIGHT * matching)
            metrics |= {"loss": loss, "generator_loss": adversarial, "feature_matching": matching}
            return loss, (metrics, generated)

        def discriminator_loss_fn(params: PyTree, generated: jax.Array) -> jax.Array:
            return discriminator_loss(discriminate(params, waveform), discriminate(params, generated))

        grads, (metrics, generated) = jax.grad(generator_loss_fn, has_aux=True)(state.params)
        metrics["discriminator_loss"], discriminator_grads = jax.value_and_grad(discriminator_loss_fn)(
            discriminator_params, generated
        )
        updates, opt_state = discriminator_optimizer.update(
            discriminator_grads, state.extra["opt_state"], discriminator_params
        )
        extra = {"params": optax.apply_updates(discriminator_params, updates), "opt_state": opt_state}
        return next_state(state, grads, optimizer, ema_decay, extra)[0], metrics

    return Phase(
        name=f"codec_vocoder_{stream}",
        num_steps=training.vocoder_num_steps,
        settings=phase_settings(config, stream, "vocoder"),
        init=init,
        initial=initial,
        frozen=codec_variables,
        step=step,
        make_batches=make_batches,
        prepare=prepare_batch,
        parameters=lambda state: state.ema_params,
    )


def _pitch_losses(frames: VocoderFrames, pitch: Pitch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cross entropy of pitch (voiced frames) and of voicing, and the mean absolute log-pitch error."""
    voiced = pitch.is_voiced.astype(jnp.float32)
    distance = (pitch.log_hz[..., None] - PITCH_BINS) / (PITCH_BINS[1] - PITCH_BINS[0])
    target = jax.nn.softmax(-0.5 * distance**2)  # a Gaussian, one bin wide
    cross_entropy = optax.softmax_cross_entropy(frames.pitch_logits, target)
    num_voiced = jnp.maximum(jnp.sum(voiced), 1.0)
    pitch_loss = jnp.sum(voiced * cross_entropy) / num_voiced
    voicing_loss = jnp.mean(optax.sigmoid_binary_cross_entropy(frames.voicing_logit, voiced))
    pitch_error = jnp.sum(voiced * jnp.abs(frames.log_pitch - pitch.log_hz)) / num_voiced
    return pitch_loss, voicing_loss, pitch_error
