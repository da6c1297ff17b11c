"""Disentanglement of speaker and content, for codecs whose tokens carry no speaker identity.

With `MelRVQConfig.speaker_dim`, the encoder's input has no harmonics, and its pitch is relative to the clip's
median (`content_features`); training warps its spectrum at random (training/speaker_perturbation.py). The
decoder is conditioned on an embedding of a reference recording by `SpeakerEncoder`, so the language model
does not predict the speaker token by token.
Source: information perturbation after Choi et al. (NANSY, 2021), speaker-conditioned decoding of tokens after
Ju et al. (NaturalSpeech 3, 2024); features and sizes are our choice.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.codecs.mel_rvq.convnext import ConvNeXtBlock, dense, layer_norm
from dualdub_jax.dsp.mel import LOG_FLOOR, MEAN_LOG_MEL, STD_LOG_MEL
from dualdub_jax.dsp.pitch import MAX_PITCH_HZ, MIN_PITCH_HZ, Pitch

# Cepstral coefficients over the mel bands: enough for formants, too few for harmonics up to a pitch of about
# 270 Hz in 80 bands.
NUM_CEPSTRA = 14
NUM_FEATURES = NUM_CEPSTRA + 2  # per mel frame: cepstra, relative pitch, voicing

_CEPSTRA_SCALE = 0.5
_PITCH_SCALE = 3.0
_MID_LOG_PITCH = float(np.log(MIN_PITCH_HZ * MAX_PITCH_HZ) / 2)
_REFERENCE_RMS = 0.05
_BLOCKS, _KERNEL_SIZE = 2, 5


def content_features(mel: jax.Array, pitch: Pitch, mel_mask: jax.Array) -> jax.Array:
    """Speech features without the speaker: cepstra, pitch relative to the clip's median, voicing.

    Args:
        mel: float32[B, M, n_mels], log-mels, nats.
        pitch: of the same M frames.
        mel_mask: bool[B, M], True for valid frames.

    Returns:
        float32[B, M, NUM_FEATURES]; finite outside the mask.
    """
    normalised = jnp.where(mel_mask[..., None], (mel - MEAN_LOG_MEL) / STD_LOG_MEL, 0.0)
    cepstra = normalised @ _cosines(mel.shape[-1]) * _CEPSTRA_SCALE
    is_voiced = pitch.is_voiced & mel_mask
    middle = jnp.nanmedian(jnp.where(is_voiced, pitch.log_hz, jnp.nan), axis=1, keepdims=True)
    relative = jnp.where(is_voiced, (pitch.log_hz - middle) * _PITCH_SCALE, 0.0)
    return jnp.concatenate([cepstra, relative[..., None], is_voiced[..., None].astype(mel.dtype)], axis=-1)


def level_reference(waveform: jax.Array, sample_mask: jax.Array) -> jax.Array:
    """Normalises a recording to a fixed RMS over its mask and zeroes the rest.

    Args:
        waveform: float32[B, S].
        sample_mask: bool[B, S], True for valid samples.

    Returns:
        float32[B, S].
    """
    waveform = jnp.where(sample_mask, waveform, 0.0)
    power = jnp.sum(waveform**2, axis=1, keepdims=True) / jnp.maximum(
        jnp.sum(sample_mask, axis=1, keepdims=True), 1
    )
    return waveform * (_REFERENCE_RMS / jnp.sqrt(power + LOG_FLOOR**2))


class SpeakerEncoder(nn.Module):
    """A reference recording to a speaker embedding, by attentive statistics pooling.

    Attributes:
        config: of the codec.
    """

    config: MelRVQConfig

    @nn.compact
    def __call__(self, mel: jax.Array, pitch: Pitch, mel_mask: jax.Array, has_voice: jax.Array) -> jax.Array:
        """Encodes reference recordings.

        Args:
            mel: float32[B, M, n_mels], log-mels of the level-normalised reference, nats.
            pitch: of the same M frames.
            mel_mask: bool[B, M], True for valid frames.
            has_voice: bool[B], False without a reference.

        Returns:
            float32[B, speaker_dim]; a learned null without a reference.
        """
        config = self.config
        null = self.param(
            "null",
            nn.with_logical_partitioning(nn.initializers.zeros_init(), ("patch",)),
            (config.speaker_dim,),
        )
        is_voiced = pitch.is_voiced & mel_mask
        register = jnp.where(is_voiced, (pitch.log_hz - _MID_LOG_PITCH) * _PITCH_SCALE, 0.0)
        x = jnp.where(mel_mask[..., None], (mel - MEAN_LOG_MEL) / STD_LOG_MEL, 0.0)
        x = jnp.concatenate([x, register[..., None], is_voiced[..., None].astype(x.dtype)], axis=-1)
        x = dense(config.width, "mel_in", ("patch", "embed"))(x)
        for i in range(_BLOCKS):
            x = ConvNeXtBlock(_KERNEL_SIZE, name=f"block_{i}")(x, mel_mask)
        x = layer_norm("norm_out")(x)
        # Attention weights per channel: frames informative of pitch and of breathiness differ.
        logits = dense(config.speaker_dim, "attention", ("embed", "patch"))(x)
        weights = jax.nn.softmax(logits, axis=1, where=mel_mask[..., None])
        values = dense(config.speaker_dim, "values", ("embed", "patch"))(x)
        mean = jnp.sum(weights * values, axis=1)
        spread = jnp.sqrt(jnp.sum(weights * (values - mean[:, None]) ** 2, axis=1) + 1e-4)
        pooled = jnp.concatenate([mean, spread], axis=-1)
        vector = dense(config.speaker_dim, "out", ("mlp", "patch"))(pooled)
        return jnp.where(has_voice[:, None], vector, null)


def _cosines(n_mels: int) -> np.ndarray:
    """float32[n_mels, NUM_CEPSTRA]: orthonormal cosines over the bands (DCT-II)."""
    angles = np.pi * (np.arange(n_mels)[:, None] + 0.5) * np.arange(NUM_CEPSTRA) / n_mels
    cosines = np.cos(angles) * np.sqrt(2.0 / n_mels)
    cosines[:, 0] /= np.sqrt(2.0)
    return cosines.astype(np.float32)
