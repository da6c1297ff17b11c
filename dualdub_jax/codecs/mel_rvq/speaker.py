"""Who speaks and what is said, taken apart: for codecs whose tokens leave the voice out.

With `MelRVQConfig.speaker_dim`, a codec's encoder sees speech without its harmonics and with its pitch
relative to the clip's own middle (`content_features`), training bends the spectrum it sees at random
(training/voice_perturbation.py), and the decoder is told by `SpeakerEncoder`, from a reference recording,
whose voice to speak with. So the voice need not be guessed token by token: it is the reference's by
construction.
Source: information perturbation after Choi et al. (NANSY, 2021) and speaker-conditioned decoding of tokens
as in Ju et al. (NaturalSpeech 3, 2024); features, sizes and code are ours.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.codecs.mel_rvq.convnext import ConvNeXtBlock, dense, layer_norm
from dualdub_jax.dsp.mel import LOG_FLOOR, MEAN_LOG_MEL, STD_LOG_MEL
from dualdub_jax.dsp.pitch import MAX_PITCH_HZ, MIN_PITCH_HZ, Pitch

# Cosines over the mel bands that are kept: formants have fewer ripples, and harmonics of 80 bands have more
# up to a pitch of about 270 Hz.
NUM_CEPSTRA = 14
NUM_FEATURES = NUM_CEPSTRA + 2  # of a mel frame: cepstra, relative pitch, voicing

_CEPSTRA_SCALE = 0.5
_PITCH_SCALE = 3.0
_MID_LOG_PITCH = float(np.log(MIN_PITCH_HZ * MAX_PITCH_HZ) / 2)
_REFERENCE_RMS = 0.05
_BLOCKS, _KERNEL_SIZE = 2, 5


def content_features(mel: jax.Array, pitch: Pitch, mel_mask: jax.Array) -> jax.Array:
    """What an encoder may know of speech.

    Args:
        mel: float32[B, M, n_mels], log-mels.
        pitch: of the same M frames.
        mel_mask: bool[B, M], True for frames that exist.

    Returns:
        float32[B, M, NUM_FEATURES]; finite outside the mask, too.
    """
    normalised = jnp.where(mel_mask[..., None], (mel - MEAN_LOG_MEL) / STD_LOG_MEL, 0.0)
    cepstra = normalised @ _cosines(mel.shape[-1]) * _CEPSTRA_SCALE
    is_voiced = pitch.is_voiced & mel_mask
    middle = jnp.nanmedian(jnp.where(is_voiced, pitch.log_hz, jnp.nan), axis=1, keepdims=True)
    relative = jnp.where(is_voiced, (pitch.log_hz - middle) * _PITCH_SCALE, 0.0)
    return jnp.concatenate([cepstra, relative[..., None], is_voiced[..., None].astype(mel.dtype)], axis=-1)


def level_reference(waveform: jax.Array, sample_mask: jax.Array) -> jax.Array:
    """The recording at one level, zero outside its mask: float32[B, S], bool[B, S] -> float32[B, S]."""
    waveform = jnp.where(sample_mask, waveform, 0.0)
    power = jnp.sum(waveform**2, axis=1, keepdims=True) / jnp.maximum(
        jnp.sum(sample_mask, axis=1, keepdims=True), 1
    )
    return waveform * (_REFERENCE_RMS / jnp.sqrt(power + LOG_FLOOR**2))


class SpeakerEncoder(nn.Module):
    """A reference recording to one vector, by attentive pooling of means and spreads.

    Attributes:
        config: of the codec.
    """

    config: MelRVQConfig

    @nn.compact
    def __call__(self, mel: jax.Array, pitch: Pitch, mel_mask: jax.Array, has_voice: jax.Array) -> jax.Array:
        """Reads the voice.

        Args:
            mel: float32[B, M, n_mels], log-mels of the reference at one level.
            pitch: of the same M frames.
            mel_mask: bool[B, M], True for frames that exist.
            has_voice: bool[B], False where there is no reference.

        Returns:
            float32[B, speaker_dim]; a learned vector where there is no reference.
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
        # One weighting for every few features: what tells the pitch is not where the breath is heard.
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
