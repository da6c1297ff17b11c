"""The neural vocoder: decoded log-mels and hidden features to a waveform.

A few ConvNeXt blocks read the decoder's output and say, for every short frame, how much of a tonal and of a
noise source each band lets through; the sources keep the phase (see `excitation`), and one inverse STFT
makes the waveform. The band gains are relative to the log-mel itself, so that an untrained vocoder already
has the right spectrum, and bands at the floor of the log-mel are silent, whatever the network says.
Source: ConvNeXt blocks and inverse-STFT head after Vocos (Siuzdak, 2023), filtered sources after DDSP
(Engel et al., 2020); the combination is our choice, because it is good after minutes of training where a
head that must learn phases is not.
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


# The pitch is chosen among bins of natural logarithm of Hz, a little over half a semitone each: a choice does
# not hedge between octaves, where a regression would answer with their mean.
PITCH_BINS = np.linspace(np.log(MIN_PITCH_HZ), np.log(MAX_PITCH_HZ), 64).astype(np.float32)
_PITCH_REACH = 3  # bins on each side of the best one that refine it


@flax.struct.dataclass
class VocoderFrames:
    """What the network says; M mel frames, each with `hop_length / vocoder_hop_length` short frames.

    Attributes:
        log_pitch: float32[B, M], natural logarithm of the pitch in Hz.
        pitch_logits: float32[B, M, pitch bins], what `log_pitch` was read from; see `PITCH_BINS`.
        voicing_logit: float32[B, M]; a training signal only: the gains say what is heard.
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
    """The network of the vocoder.

    Attributes:
        config: of the codec.
    """

    config: MelRVQConfig

    @nn.compact
    def __call__(self, log_mel: jax.Array, hidden: jax.Array, mask: jax.Array) -> VocoderFrames:
        """Says how to shape the sources.

        Args:
            log_mel: float32[B, M, n_mels], decoded.
            hidden: float32[B, T, width], the decoder's last features, M / T mel frames each.
            mask: bool[B, M], True for mel frames that exist.
        """
        config = self.config
        per_token = log_mel.shape[1] // hidden.shape[1]
        per_mel = config.hop_length // config.vocoder_hop_length
        # Masked positions may hold anything; what is made of them must still be finite.
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
            log_pitch=_read_pitch(pitch[..., 1:]),
            pitch_logits=pitch[..., 1:],
            voicing_logit=pitch[..., 0],
            log_amplitude=_upsample(log_mel, mask, per_mel),
            tonal_log_gain=gains[0],
            noise_log_gain=gains[1],
        )


def vocoder_receptive_frames(config: MelRVQConfig) -> int:
    """Mel frames on each side that a sample depends on: the network, interpolation and overlap-add."""
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
    """Shapes the sources and adds them up.

    Args:
        frames: what the network says.
        mask: bool[B, M], True for mel frames that exist.
        config: of the codec.
        first_frame: int32[], absolute number of the first grid frame.
        phase: float32[B], phase of the pitch at the start of mel frame `anchor_hop`, in periods.
        anchor_hop: see `phase`.

    Returns:
        The waveform float32[B, M * hop_length], zero outside the mask, and float32[B, M], the phase at the
        start of each mel frame.
    """
    num_mel_frames = mask.shape[1]
    num_frames = num_mel_frames * config.hop_length // config.samples_per_frame
    n_fft, hop_length = config.vocoder_n_fft, config.vocoder_hop_length
    hiss = excitation.noise(first_frame, num_frames, config.samples_per_frame, config.noise_seed)
    if config.tonal_source == "pitch":
        tones, phases = excitation.harmonics(
            jnp.exp(frames.log_pitch), mask, phase, anchor_hop, config.sample_rate_hz, config.hop_length
        )
    else:
        tones = excitation.tone_grid(num_frames, config.samples_per_frame, config.noise_seed)[None]
        phases = jnp.zeros(mask.shape)
    to_bins = _bands_to_bins(config)
    # The log-mel's floor becomes zero: silence is silent.
    amplitude = jnp.maximum(jnp.exp(frames.log_amplitude @ to_bins) - LOG_FLOOR, 0.0)
    amplitude = amplitude / unit_noise_band_amplitude(config.n_fft)
    tonal_gain = amplitude * jnp.exp(frames.tonal_log_gain @ to_bins)
    noise_gain = amplitude * jnp.exp(frames.noise_log_gain @ to_bins)
    # The sources end where the sequence ends, whether its window goes on or not.
    sample_mask = jnp.repeat(mask, config.hop_length, axis=1)
    tones, hiss = jnp.where(sample_mask, tones, 0.0), jnp.where(sample_mask, hiss, 0.0)
    spectra = tonal_gain * stft(tones, n_fft, hop_length) + noise_gain * stft(hiss, n_fft, hop_length)
    short_mask = jnp.repeat(mask, config.hop_length // hop_length, axis=1)
    return istft(spectra, n_fft, hop_length, short_mask), phases


def _read_pitch(logits: jax.Array) -> jax.Array:
    """The mean of the bins around the best one: float32[..., pitch bins] -> float32[...]."""
    best = jnp.argmax(logits, axis=-1, keepdims=True)
    is_near = jnp.abs(jnp.arange(len(PITCH_BINS)) - best) <= _PITCH_REACH
    return jax.nn.softmax(jnp.where(is_near, logits, -jnp.inf)) @ PITCH_BINS


def _upsample(log_mel: jax.Array, mask: jax.Array, factor: int) -> jax.Array:
    """Linear interpolation in time to `factor` short frames each; both ends repeat themselves."""
    before, after = excitation.neighbours(log_mel, mask)
    parts = []
    for i in range(factor):
        offset = (i + 0.5) / factor - 0.5
        other = before if offset < 0 else after
        parts.append(log_mel + abs(offset) * (other - log_mel))
    return rearrange(jnp.stack(parts, axis=2), "b m r n -> b (m r) n")


def _bands_to_bins(config: MelRVQConfig) -> np.ndarray:
    """float32[n_mels, bins]: linear interpolation between the centres of the bands."""
    centres = mel_band_edges_hz(config.n_mels, config.sample_rate_hz)[1:-1]
    bins_hz = np.arange(config.vocoder_n_fft // 2 + 1) * config.sample_rate_hz / config.vocoder_n_fft
    columns = [np.interp(bins_hz, centres, row) for row in np.eye(config.n_mels)]
    return np.stack(columns).astype(np.float32)
