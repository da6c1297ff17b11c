"""The decoder of WavTokenizer: a Vocos backbone with attention, and an inverse STFT.

GroupNorm and attention extend over the whole clip. Both are masked here, so that a row of a padded batch
decodes to what it decodes to alone. The conditioned layer norms have the embedding 0 of the public inference
code folded into their scales and shifts.

| module | kernel | output |
|---|---|---|
| `embed` | [7, D, W] | float32[B, T, W] |
| `residual_{0,1,3,4}`: GroupNorm, SiLU, conv 3, twice | [3, W, W] | [B, T, W] |
| `attention`: GroupNorm, one head | [W, W] × 4 | [B, T, W] |
| `group_norm`, `norm` | [W] | [B, T, W] |
| `block_i`: depthwise 7, norm, GELU MLP, `gamma` | [7, W], [W, M], [M, W] | [B, T, W] |
| `norm_out`, `head` | [W], [W, n_fft + 2] | float32[B, T * hop] |

Source: Ji et al. (2024); Vocos (Siuzdak, 2023).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dualdub_jax.codecs.mel_rvq.convnext import DepthwiseConv, dense, layer_norm
from dualdub_jax.codecs.wavtokenizer.config import WavTokenizerConfig
from dualdub_jax.dsp.stft import istft

_EPSILON = 1e-6  # of all norms
_MAX_MAGNITUDE = 100.0
_WINDOW_HOPS = 4  # n_fft / hop length


class MaskedGroupNorm(nn.Module):
    """Group norm over valid frames and the channels of a group.

    Attributes:
        num_groups: divides the channels.
    """

    num_groups: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """float32[B, T, W], bool[B, T] -> float32[B, T, W]; statistics of each row's valid frames."""
        batch, length, width = x.shape
        init = nn.initializers
        scale = self.param("scale", nn.with_logical_partitioning(init.ones_init(), ("norm",)), (width,))
        bias = self.param("bias", nn.with_logical_partitioning(init.zeros_init(), ("norm",)), (width,))
        valid = mask[:, :, None, None]
        groups = x.reshape(batch, length, self.num_groups, -1).astype(jnp.float32)
        groups = jnp.where(valid, groups, 0.0)
        count = jnp.maximum(jnp.sum(mask, axis=1), 1)[:, None, None, None] * groups.shape[-1]
        mean = jnp.sum(groups, axis=(1, 3), keepdims=True) / count
        centred = jnp.where(valid, groups - mean, 0.0)
        variance = jnp.sum(jnp.square(centred), axis=(1, 3), keepdims=True) / count
        normed = (centred * jax.lax.rsqrt(variance + _EPSILON)).astype(x.dtype)
        return normed.reshape(batch, length, width) * scale + bias


class MaskedConv(nn.Module):
    """Centred convolution; frames outside the mask count as zeros."""

    features: int
    kernel_size: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """float32[B, T, C], bool[B, T] -> float32[B, T, features]."""
        init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("kernel", "patch", "embed"))
        kernel = self.param("kernel", init, (self.kernel_size, x.shape[-1], self.features))
        bias_init = nn.with_logical_partitioning(nn.initializers.zeros_init(), ("embed",))
        bias = self.param("bias", bias_init, (self.features,))
        x = jnp.where(mask[..., None], x, 0.0)
        return bias + jax.lax.conv_general_dilated(
            x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )


class PositionalBlock(nn.Module):
    """x + (GroupNorm, SiLU, convolution) twice."""

    num_groups: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """float32[B, T, W], bool[B, T] -> float32[B, T, W]."""
        h = x
        for i in range(2):
            h = nn.silu(MaskedGroupNorm(self.num_groups, name=f"norm_{i}")(h, mask))
            h = MaskedConv(x.shape[-1], 3, name=f"conv_{i}")(h, mask)
        return x + h


class PositionalAttention(nn.Module):
    """x + attention of one head over the valid frames of the clip."""

    num_groups: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """float32[B, T, W], bool[B, T] -> float32[B, T, W]."""
        width = x.shape[-1]
        h = MaskedGroupNorm(self.num_groups, name="norm")(x, mask)
        query, key, value = (
            dense(width, name, ("embed", "heads"))(h)[:, :, None] for name in ("query", "key", "value")
        )
        attended = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None, None, :])
        return x + dense(width, "out", ("heads", "embed"))(attended[:, :, 0])


class DecoderBlock(nn.Module):
    """x + gamma * MLP(LayerNorm(depthwise convolution of x))."""

    mlp_width: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """float32[B, T, W], bool[B, T] -> float32[B, T, W]."""
        width = x.shape[-1]
        h = DepthwiseConv(7, name="conv")(jnp.where(mask[..., None], x, 0.0))
        bias_init = nn.with_logical_partitioning(nn.initializers.zeros_init(), ("norm",))
        h = h + self.param("conv_bias", bias_init, (width,))
        h = dense(self.mlp_width, "up", ("embed", "mlp"))(layer_norm("norm")(h))
        h = dense(width, "down", ("mlp", "embed"))(nn.gelu(h, approximate=False))
        gamma_init = nn.with_logical_partitioning(nn.initializers.ones_init(), ("norm",))
        return x + self.param("gamma", gamma_init, (width,)) * h


class WavTokenizerDecoder(nn.Module):
    """Decodes codebook entries to a waveform; the table above has the shapes.

    Attributes:
        config: of the codec.
    """

    config: WavTokenizerConfig

    @nn.compact
    def __call__(self, latents: jax.Array, mask: jax.Array) -> jax.Array:
        """Decodes.

        Args:
            latents: float32[B, T, latent_dim].
            mask: bool[B, T], True for valid frames, a prefix of each row.

        Returns:
            float32[B, T * samples_per_frame], not clipped; zeros outside the mask.
        """
        config = self.config
        groups = config.decoder_num_groups
        x = MaskedConv(config.decoder_width, 7, name="embed")(latents, mask)
        for i in (0, 1):
            x = PositionalBlock(groups, name=f"residual_{i}")(x, mask)
        x = PositionalAttention(groups, name="attention")(x, mask)
        for i in (3, 4):
            x = PositionalBlock(groups, name=f"residual_{i}")(x, mask)
        x = layer_norm("norm")(MaskedGroupNorm(groups, name="group_norm")(x, mask))
        for i in range(config.decoder_num_blocks):
            x = DecoderBlock(config.decoder_mlp_width, name=f"block_{i}")(x, mask)
        hop = config.samples_per_frame
        n_fft = _WINDOW_HOPS * hop
        spectrum = dense(n_fft + 2, "head", ("embed", "patch"))(layer_norm("norm_out")(x))
        log_magnitude, phase = jnp.split(spectrum.astype(jnp.float32), 2, axis=-1)
        magnitude = jnp.minimum(jnp.exp(log_magnitude), _MAX_MAGNITUDE)
        return istft(magnitude * jnp.exp(1j * phase), n_fft, hop, mask)
