"""Decoded sound, brought into a room that is told.

Reverberation is worth few nats to a language model, so what it says of it in its tokens is vague; and two
tracks that are one recording have to agree on it. As with the voice, what need not be guessed token by token
is told once. A network reads a decoded log-mel and says how much of each band is the sound itself; the room's
reverberation and noise are then made of that by their physics, which is known and need not be learned, the
same in both tracks. Training: training/codec_room.py. Source: our choice; that a tail falls exponentially is
Sabine's law, and differentiable signal processing around a network is DDSP's idea (Engel et al., 2020).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.codecs.mel_rvq.convnext import ConvNeXtBlock, dense, layer_norm
from dualdub_jax.dsp.acoustics import bin_weights
from dualdub_jax.dsp.mel import LOG_FLOOR, MEAN_LOG_MEL, STD_LOG_MEL, unit_noise_band_amplitude

_NUM_BINS = 24  # of each quantity
_TAIL_S = 1.0  # a tail is heard for so long
_LEAST_LOG_GAIN, _MOST_LOG_GAIN = -7.0, 1.0
_FIRST_TAIL = 0.1  # of the power a hop earlier, before training
_PER_BAND_SCALE = 5.0  # so that the room's constants are learned as fast as its networks


class AcousticsRenderer(nn.Module):
    """Log-mels to log-mels.

    Attributes:
        config: of the codec.
    """

    config: MelRVQConfig

    @nn.compact
    def __call__(self, log_mel: jax.Array, mask: jax.Array, acoustics: jax.Array) -> jax.Array:
        """Renders.

        Args:
            log_mel: float32[B, M, n_mels], decoded.
            mask: bool[B, T], True for grid frames that exist.
            acoustics: float32[B, 2], seconds and dBFS; NaN: not known, that log-mel stays as it is.

        Returns:
            float32[B, M, n_mels].
        """
        per_frame = log_mel.shape[1] // mask.shape[1]
        # Masked positions may hold anything; what is made of them must still be finite, and silent.
        log_mel = jnp.where(jnp.repeat(mask, per_frame, axis=1)[..., None], log_mel, np.log(LOG_FLOOR))
        is_known = jnp.all(jnp.isfinite(acoustics), axis=1)
        told = jnp.where(is_known[:, None], acoustics, 1.0)
        log_gain = self._log_gain(log_mel, mask, rearrange(bin_weights(told, _NUM_BINS), "b k v -> b (k v)"))
        power = jnp.maximum(jnp.exp(2.0 * (log_mel + log_gain)) - LOG_FLOOR**2, 0.0)
        tail = self._per_band("log_tail", np.log(_FIRST_TAIL)) * self._ring(power, told[:, 0])
        white = 2.0 * np.log(unit_noise_band_amplitude(self.config.n_fft))
        noise = self._per_band("log_noise", white) * 10.0 ** (told[:, 1] / 10.0)[:, None, None]
        rendered = 0.5 * jnp.log(power + tail + noise + LOG_FLOOR**2)
        return jnp.where(is_known[:, None, None], rendered, log_mel)

    def _log_gain(self, log_mel: jax.Array, mask: jax.Array, condition: jax.Array) -> jax.Array:
        """How much of each band is the sound itself, float32[B, M, n_mels], nats."""
        config, per_frame = self.config, log_mel.shape[1] // mask.shape[1]
        x = rearrange((log_mel - MEAN_LOG_MEL) / STD_LOG_MEL, "b (t r) n -> b t (r n)", r=per_frame)
        x = dense(config.acoustics_width, "mel_in", ("patch", "embed"))(x)
        for i in range(config.acoustics_num_blocks):
            x = ConvNeXtBlock(config.acoustics_kernel_size, name=f"block_{i}")(x, mask, condition)
        x = dense(per_frame * config.n_mels, "gain_out", ("embed", "patch"), scale=0.01)(
            layer_norm("norm_out")(x)
        )
        gain = rearrange(x, "b t (r n) -> b (t r) n", r=per_frame) * STD_LOG_MEL
        return jnp.clip(gain, _LEAST_LOG_GAIN, _MOST_LOG_GAIN)

    def _per_band(self, name: str, first: float) -> jax.Array:
        init = nn.with_logical_partitioning(nn.initializers.zeros, ("patch",))
        return jnp.exp(first + _PER_BAND_SCALE * self.param(name, init, (self.config.n_mels,), jnp.float32))

    def _ring(self, power: jax.Array, rt60_s: jax.Array) -> jax.Array:
        """What each hop's power has left of it in the hops after, all added up: float32[B, M, n_mels]."""
        hop_s = self.config.hop_length / self.config.sample_rate_hz
        hops = np.arange(power.shape[1])
        later = hops[:, None] - hops
        is_heard = (later > 0) & (later <= tail_hops(self.config))
        fall = jnp.exp(-np.log(1e6) * np.maximum(later, 0) * hop_s / rt60_s[:, None, None])
        return jnp.einsum("bts,bsn->btn", jnp.where(is_heard, fall, 0.0), power)


def tail_hops(config: MelRVQConfig) -> int:
    """Mel frames that a sound rings on for."""
    return round(_TAIL_S * config.sample_rate_hz / config.hop_length)
