"""Encoder, split residual quantiser and decoder of Mimi, all causal.

| encoder | kernel | output |
|---|---|---|
| `conv_in` | [7, 1, F] | float[B, S, F] |
| `block_i_j`: ELU, `conv`, ELU, `project`, plus x | [3, C, C/2], [1, C/2, C] | [B, n, C] |
| `down_i` | [2s, C, 2C], stride s | [B, ceil(n / s), 2C] |
| `conv_out`, `transformer` | [3, C, D] | [B, t, D] |
| `downsample`, no bias, ends replicated | [2r, D, D], stride r | float[B, T, D] |

| quantiser: "semantic" and "acoustic" | shape | |
|---|---|---|
| `in`, `out` | [D, d], [d, D] | to and from the codebooks' dimensions; absent if d is D |
| `codebook` | [Q, K, d] | nearest in Euclidean distance, of residuals of the same part only |

| decoder | kernel | output |
|---|---|---|
| `upsample`, no bias, in groups of channels | [2r, D, D / groups] | [B, t, D] |
| `transformer`, `conv_in` | [7, D, C] | [B, t, C] |
| `up_i`; `block_i_j` | [2s, C, C/2] | [B, n * s, C/2] |
| `conv_out` | [3, F, 1] | float[B, S] |

Source: Défossez et al. (2024); convolutions after EnCodec's SEANet (Défossez et al., 2022).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dualdub_jax.codecs.mimi.config import MimiConfig
from dualdub_jax.codecs.mimi.transformer import MimiTransformer
from dualdub_jax.layers.causal_conv1d import CausalConv1d, CausalUpsampleConv1d, num_outputs

PyTree = Any  # nested dictionaries of arrays


class MimiResidual(nn.Module):
    """x, or its projection, plus ELU, dilated convolution, ELU, projection."""

    config: MimiConfig
    dilation: int

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """float[B, T, C] -> float[B, T, C]."""
        config, width = self.config, x.shape[-1]
        conv = CausalConv1d(
            width // config.compress, config.residual_kernel_size, dilation=self.dilation, name="conv"
        )
        h = CausalConv1d(width, 1, name="project")(nn.elu(conv(nn.elu(x), lengths)))
        return h + (CausalConv1d(width, 1, name="shortcut")(x) if config.use_conv_shortcut else x)


class MimiEncoder(nn.Module):
    """Encodes a waveform to latents; the table above has the shapes.

    Attributes:
        config: of the codec.
    """

    config: MimiConfig

    @nn.compact
    def __call__(self, waveform: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Encodes.

        Args:
            waveform: float32[B, S].
            lengths: int32[B], samples of each row; the rest may be NaN. None: all S.

        Returns:
            float32[B, ceil(S / samples_per_frame), width]; undefined past a row's frames.
        """
        config, width = self.config, self.config.num_filters
        x = CausalConv1d(width, config.kernel_size, name="conv_in")(waveform[..., None], lengths)
        for i, stride in enumerate(config.strides):
            for j in range(config.num_residual_layers):
                x = MimiResidual(config, config.dilation_growth**j, name=f"block_{i}_{j}")(x, lengths)
            width *= 2
            x = CausalConv1d(width, 2 * stride, stride, name=f"down_{i}")(nn.elu(x), lengths)
            lengths = None if lengths is None else num_outputs(lengths, stride)
        x = CausalConv1d(config.width, config.last_kernel_size, name="conv_out")(nn.elu(x), lengths)
        x = MimiTransformer(config, name="transformer")(x)
        stride = config.latent_stride
        downsample = CausalConv1d(
            config.width, 2 * stride, stride, use_bias=False, is_replicated=True, name="downsample"
        )
        return downsample(x, lengths)


class MimiDecoder(nn.Module):
    """Decodes latents to a waveform; the table above has the shapes. It streams, see `causal_conv1d`.

    Attributes:
        config: of the codec.
    """

    config: MimiConfig

    @nn.compact
    def __call__(self, latents: jax.Array) -> jax.Array:
        """float[B, T, width] -> float[B, T * samples_per_frame], not clipped."""
        config = self.config
        width = config.num_filters * 2 ** len(config.strides)
        upsample = CausalUpsampleConv1d(
            config.width, config.latent_stride, config.num_upsample_groups, use_bias=False, name="upsample"
        )
        x = MimiTransformer(config, name="transformer")(upsample(latents))
        x = CausalConv1d(width, config.kernel_size, name="conv_in")(x)
        for i, stride in enumerate(reversed(config.strides)):
            width //= 2
            x = CausalUpsampleConv1d(width, stride, name=f"up_{i}")(nn.elu(x))
            for j in range(config.num_residual_layers):
                x = MimiResidual(config, config.dilation_growth**j, name=f"block_{i}_{j}")(x)
        return CausalConv1d(1, config.last_kernel_size, name="conv_out")(nn.elu(x))[..., 0]


def quantise(quantiser: PyTree, latents: jax.Array) -> jax.Array:
    """float32[B, T, D] -> int32[B, T, Q]: codes of the semantic part, then of the acoustic one."""

    def step(residual: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores = 2.0 * residual @ codebook.T - jnp.sum(jnp.square(codebook), axis=-1)
        codes = jnp.argmax(scores, axis=-1).astype(jnp.int32)
        return residual - codebook[codes], codes

    def part(name: str) -> jax.Array:
        layer = quantiser[name]
        low = latents @ layer["in"]["kernel"] if "in" in layer else latents
        return jnp.moveaxis(jax.lax.scan(step, low, layer["codebook"])[1], 0, -1)

    return jnp.concatenate([part("semantic"), part("acoustic")], axis=-1)


def dequantise(quantiser: PyTree, codes: jax.Array) -> jax.Array:
    """int32[B, T, Q] -> latents float32[B, T, D], the sum of both parts."""
    num_semantic = len(quantiser["semantic"]["codebook"])
    latents = 0.0
    for name, some in (("semantic", codes[..., :num_semantic]), ("acoustic", codes[..., num_semantic:])):
        layer = quantiser[name]
        entries = jax.vmap(lambda codebook, code: codebook[code], in_axes=(0, -1))(
            layer["codebook"][: some.shape[-1]], some
        )
        low = jnp.sum(entries, axis=0)
        latents = latents + (low @ layer["out"]["kernel"] if "out" in layer else low)
    return latents
