"""Renders decoded log-mels with given room acoustics.

Reverberation contributes few nats to the language model's loss, so predicted tokens carry it imprecisely,
while both tracks of one recording must share it. The decoder is therefore conditioned on acoustics once per
track. A network predicts the direct-sound gain of each band from the decoded log-mel; reverberation and noise
are then synthesised by a fixed physical model, identical for both tracks. Training: training/acoustics.py.
Source: our choice; exponential decay of the tail is Sabine's law, and differentiable signal processing around
a network follows DDSP (Engel et al., 2020).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.codecs.mel_rvq.convnext import ConvNeXtBlock, dense, layer_norm
from dualdub_jax.dsp.acoustics_bins import bin_weights
from dualdub_jax.dsp.mel import LOG_FLOOR, MEAN_LOG_MEL, STD_LOG_MEL, unit_noise_band_amplitude

_NUM_BINS = 24  # of each quantity
_TAIL_S = 1.0  # the tail is truncated at this length
_LEAST_LOG_GAIN, _MOST_LOG_GAIN = -7.0, 1.0
_INITIAL_TAIL = 0.1  # tail power relative to the power one hop earlier, before training
MAX_DENSE_HOPS = 4096  # the longest track whose tail is one matrix product
_CHUNK_HOPS = 1024
_PER_BAND_SCALE = 5.0  # learning rate multiplier of the per-band constants, which are few


class AcousticsRenderer(nn.Module):
    """Predicts a direct-sound gain per band and adds a reverberation tail and noise.

    Attributes:
        config: of the codec.
    """

    config: MelRVQConfig

    @nn.compact
    def __call__(self, log_mel: jax.Array, mask: jax.Array, acoustics: jax.Array) -> jax.Array:
        """Renders log-mels.

        Args:
            log_mel: float32[B, M, n_mels], decoded, nats.
            mask: bool[B, T], True for valid token frames.
            acoustics: float32[B, 2], seconds and dBFS; with a NaN, that log-mel is returned unchanged.

        Returns:
            float32[B, M, n_mels], nats.
        """
        per_frame = log_mel.shape[1] // mask.shape[1]
        # Masked positions may be NaN; outputs must be finite, and their tails silent.
        log_mel = jnp.where(jnp.repeat(mask, per_frame, axis=1)[..., None], log_mel, np.log(LOG_FLOOR))
        is_known = jnp.all(jnp.isfinite(acoustics), axis=1)
        acoustics = jnp.where(is_known[:, None], acoustics, 1.0)
        condition = rearrange(bin_weights(acoustics, _NUM_BINS), "b k v -> b (k v)")
        log_gain = self._log_gain(log_mel, mask, condition)
        power = jnp.maximum(jnp.exp(2.0 * (log_mel + log_gain)) - LOG_FLOOR**2, 0.0)
        tail = self._per_band("log_tail", np.log(_INITIAL_TAIL)) * self._tail_power(power, acoustics[:, 0])
        white = 2.0 * np.log(unit_noise_band_amplitude(self.config.n_fft))
        noise = self._per_band("log_noise", white) * 10.0 ** (acoustics[:, 1] / 10.0)[:, None, None]
        rendered = 0.5 * jnp.log(power + tail + noise + LOG_FLOOR**2)
        return jnp.where(is_known[:, None, None], rendered, log_mel)

    def _log_gain(self, log_mel: jax.Array, mask: jax.Array, condition: jax.Array) -> jax.Array:
        """Log gain of the direct sound in each band, float32[B, M, n_mels], nats."""
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

    def _per_band(self, name: str, initial: float) -> jax.Array:
        init = nn.with_logical_partitioning(nn.initializers.zeros, ("patch",))
        return jnp.exp(initial + _PER_BAND_SCALE * self.param(name, init, (self.config.n_mels,), jnp.float32))

    def _tail_power(self, power: jax.Array, rt60_s: jax.Array) -> jax.Array:
        """Exponentially decayed sum of the power of earlier hops, float32[B, M, n_mels]."""
        hop_s = self.config.hop_length / self.config.sample_rate_hz
        num_hops, tail = power.shape[1], tail_hops(self.config)
        if num_hops <= MAX_DENSE_HOPS:
            return _decayed_sum(power, rt60_s, hop_s, tail, 0)
        # In chunks, each with the tail before it: memory grows with the length and not with its square.
        num_chunks = -(-num_hops // _CHUNK_HOPS)
        padded = jnp.pad(power, ((0, 0), (tail, num_chunks * _CHUNK_HOPS - num_hops), (0, 0)))
        starts = _CHUNK_HOPS * jnp.arange(num_chunks)

        def chunk(start: jax.Array) -> jax.Array:
            known = jax.lax.dynamic_slice_in_dim(padded, start, tail + _CHUNK_HOPS, axis=1)
            return _decayed_sum(known, rt60_s, hop_s, tail, tail)

        return rearrange(jax.lax.map(chunk, starts), "c b t n -> b (c t) n")[:, :num_hops]


def _decayed_sum(power: jax.Array, rt60_s: jax.Array, hop_s: float, tail: int, first: int) -> jax.Array:
    """Exponentially decayed sum of earlier hops as one matrix product.

    Args:
        power: float32[B, M, n_mels].
        rt60_s: float32[B], seconds.
        hop_s: seconds per hop.
        tail: hops that are summed.
        first: the first hop of the result.

    Returns:
        float32[B, M - first, n_mels].
    """
    hops = np.arange(power.shape[1])
    delay = hops[first:, None] - hops
    is_in_tail = (delay > 0) & (delay <= tail)
    decay = jnp.exp(-np.log(1e6) * np.maximum(delay, 0) * hop_s / rt60_s[:, None, None])
    return jnp.einsum("bts,bsn->btn", jnp.where(is_in_tail, decay, 0.0), power)


def tail_hops(config: MelRVQConfig) -> int:
    """Length of the reverberation tail, mel frames."""
    return round(_TAIL_S * config.sample_rate_hz / config.hop_length)
