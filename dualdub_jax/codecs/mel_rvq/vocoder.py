"""The neural vocoder: decoded log-mels and hidden features to a waveform.

ConvNeXt blocks on the decoder's output predict band gains of a tonal and a noise source for every short
frame. The sources carry the phase (see `excitation`), and one inverse STFT synthesises the waveform. Gains
are relative to the log-mel, so that an untrained vocoder already has the right spectral envelope; bands at
the log-mel's floor are silent for any gain. Source: ConvNeXt blocks and inverse-STFT head after Vocos
(Siuzdak, 2023), filtered sources after DDSP (Engel et al., 2020); the combination is our choice, because it
trains within minutes while a head that predicts phase does not.
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from dualdub_jax.codecs.mel_rvq import excitation
from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.codecs.mel_rvq.convnext import ConvNeXtBlock, dense, layer_norm, receptive_frames
from dualdub_jax.dsp.mel import (
    LOG_FLOOR,
    MEAN_LOG_MEL,
    STD_LOG_MEL,
    mel_band_edges_hz,
    unit_noise_band_amplitude,
)
from dualdub_jax.dsp.pitch import MAX_PITCH_HZ, MIN_PITCH_HZ
from dualdub_jax.dsp.stft import istft, stft

_LEAST_LOG_GAIN, _MOST_LOG_GAIN = -9.0, 4.0


# Pitch is classified into bins of log Hz, slightly more than half a semitone wide: under octave ambiguity,
# regression predicts the mean of both octaves.
PITCH_BINS = np.linspace(np.log(MIN_PITCH_HZ), np.log(MAX_PITCH_HZ), 64).astype(np.float32)
_PITCH_REACH = 3  # bins on each side of the maximum that are averaged


@flax.struct.dataclass
class VocoderFrames:
    """Predictions of the network: M mel frames, each with `hop_length / vocoder_hop_length` short frames.

    Attributes:
        log_pitch: float32[B, M], natural logarithm of the pitch in Hz.
        pitch_logits: float32[B, M, pitch bins], over `PITCH_BINS`; `log_pitch` is derived from them.
        voicing_logit: float32[B, M]; used by a training loss only, synthesis uses the gains.
        log_amplitude: float32[B, frames, n_mels], the log-mel at each short frame.
        tonal_log_gain: float32[B, frames, n_mels], bands of the tonal part relative to `log_amplitude`.
        noise_log_gain: float32[B, frames, n_mels], bands of the noise part relative to `log_amplitude`.
    """

    log_pitch: jax.Array
    pitch_logits: jax.Array
    voicing_logit: jax.Array
    log_amplitude: jax.Array
    tonal_log_gain: jax.Array
    noise_log_gain: jax.Array


class Vocoder(nn.Module):
    """Predicts pitch and band gains of the sources.

    Attributes:
        config: of the codec.
    """

    config: MelRVQConfig

    @nn.compact
    def __call__(self, log_mel: jax.Array, hidden: jax.Array, mask: jax.Array) -> VocoderFrames:
        """Predicts the filters of the sources.

        Args:
            log_mel: float32[B, M, n_mels], decoded, nats.
            hidden: float32[B, T, width], last hidden features of the decoder, M / T mel frames each.
            mask: bool[B, M], True for valid mel frames.
        """
        config = self.config
        per_token = log_mel.shape[1] // hidden.shape[1]
        per_mel = config.hop_length // config.vocoder_hop_length
        # Masked positions may be NaN; outputs must be finite.
        log_mel = jnp.where(mask[..., None], log_mel, np.log(LOG_FLOOR))
        x = dense(config.vocoder_width, "mel_in", ("patch", "embed"))((log_mel - MEAN_LOG_MEL) / STD_LOG_MEL)
        from_hidden = dense(per_token * config.vocoder_width, "hidden_in", ("mlp", "embed"), use_bias=False)(
            hidden
        )
        x = x + rearrange(from_hidden, "b t (r d) -> b (t r) d", r=per_token)
        x = layer_norm("norm_in")(x)
        for i in range(config.vocoder_num_blocks):
            x = ConvNeXtBlock(config.vocoder_kernel_size, name=f"block_{i}")(x, mask)
        x = layer_norm("norm_out")(x)
        pitch = dense(1 + len(PITCH_BINS), "pitch", ("embed", "patch"))(x)
        gains = dense(2 * per_mel * config.n_mels, "gains", ("embed", "patch"), scale=0.01)(x)
        gains = rearrange(gains, "b m (r s n) -> s b (m r) n", s=2, n=config.n_mels)
        gains = jnp.clip(gains, _LEAST_LOG_GAIN, _MOST_LOG_GAIN)
        return VocoderFrames(
            log_pitch=_pitch_estimate(pitch[..., 1:]),
            pitch_logits=pitch[..., 1:],
            voicing_logit=pitch[..., 0],
            log_amplitude=_upsample(log_mel, mask, per_mel),
            tonal_log_gain=gains[0],
            noise_log_gain=gains[1],
        )


def vocoder_receptive_frames(config: MelRVQConfig) -> int:
    """Receptive field on each side of a sample in mel frames: network, interpolation and overlap-add."""
    overlap = -(-config.vocoder_n_fft // config.hop_length)
    return receptive_frames(config.vocoder_num_blocks, config.vocoder_kernel_size) + overlap + 1


def synthesize(
    frames: VocoderFrames,
    mask: jax.Array,
    config: MelRVQConfig,
    first_frame: jax.Array,
    phase: jax.Array,
    anchor_hop: int = 0,
) -> tuple[jax.Array, jax.Array]:
    """Filters and sums the sources.

    Args:
        frames: predictions of the network.
        mask: bool[B, M], True for valid mel frames.
        config: of the codec.
        first_frame: int32[], absolute index of the first token frame.
        phase: float32[B], phase of the pitch at the start of mel frame `anchor_hop`, in periods.
        anchor_hop: index of the mel frame whose phase is given.

    Returns:
        The waveform float32[B, M * hop_length], zero outside the mask, and float32[B, M], the phase at the
        start of each mel frame, in periods, in [0, 1).
    """
    num_mel_frames = mask.shape[1]
    num_frames = num_mel_frames * config.hop_length // config.samples_per_frame
    n_fft, hop_length = config.vocoder_n_fft, config.vocoder_hop_length
    noise = excitation.noise(first_frame, num_frames, config.samples_per_frame, config.noise_seed)
    if config.tonal_source == "pitch":
        tones, phases = excitation.harmonics(
            jnp.exp(frames.log_pitch), mask, phase, anchor_hop, config.sample_rate_hz, config.hop_length
        )
    else:
        tones = excitation.tone_grid(num_frames, config.samples_per_frame, config.noise_seed)[None]
        phases = jnp.zeros(mask.shape)
    to_bins = _bands_to_bins(config)
    # The floor of the log-mel maps to zero amplitude: silence decodes to silence.
    amplitude = jnp.maximum(jnp.exp(frames.log_amplitude @ to_bins) - LOG_FLOOR, 0.0)
    amplitude = amplitude / unit_noise_band_amplitude(config.n_fft)
    tonal_gain = amplitude * jnp.exp(frames.tonal_log_gain @ to_bins)
    noise_gain = amplitude * jnp.exp(frames.noise_log_gain @ to_bins)
    # Sources end with the sequence, for windows that extend beyond its end.
    sample_mask = jnp.repeat(mask, config.hop_length, axis=1)
    tones, noise = jnp.where(sample_mask, tones, 0.0), jnp.where(sample_mask, noise, 0.0)
    spectra = tonal_gain * stft(tones, n_fft, hop_length) + noise_gain * stft(noise, n_fft, hop_length)
    short_mask = jnp.repeat(mask, config.hop_length // hop_length, axis=1)
    return istft(spectra, n_fft, hop_length, short_mask), phases


def _pitch_estimate(logits: jax.Array) -> jax.Array:
    """Softmax-weighted mean of the bins around the maximum: float32[..., pitch bins] -> float32[...]."""
    best = jnp.argmax(logits, axis=-1, keepdims=True)
    is_near = jnp.abs(jnp.arange(len(PITCH_BINS)) - best) <= _PITCH_REACH
    return jax.nn.softmax(jnp.where(is_near, logits, -jnp.inf)) @ PITCH_BINS


def _upsample(log_mel: jax.Array, mask: jax.Array, factor: int) -> jax.Array:
    """Linear interpolation in time to `factor` short frames per mel frame; both ends are repeated."""
    before, after = excitation.neighbours(log_mel, mask)
    parts = []
    for i in range(factor):
        offset = (i + 0.5) / factor - 0.5
        other = before if offset < 0 else after
        parts.append(log_mel + abs(offset) * (other - log_mel))
    return rearrange(jnp.stack(parts, axis=2), "b m r n -> b (m r) n")


def _bands_to_bins(config: MelRVQConfig) -> np.ndarray:
    """Linear interpolation between the centres of the bands, float32[n_mels, bins]."""
    centres = mel_band_edges_hz(config.n_mels, config.sample_rate_hz)[1:-1]
    bins_hz = np.arange(config.vocoder_n_fft // 2 + 1) * config.sample_rate_hz / config.vocoder_n_fft
    columns = [np.interp(bins_hz, centres, row) for row in np.eye(config.n_mels)]
    return np.stack(columns).astype(np.float32)
