"""Encoder and decoder of the Oobleck autoencoder.

| encoder | kernel | output |
|---|---|---|
| `conv_in` | [7, channels, C] | float32[B, S, C] |
| `block_i`: residual units of dilation 1, 3, 9; snake; `down` | [7, c, c], [1, c, c]; [2s, c, c'] | [B, n /
s, c'] | | `snake_out`, `conv_out` | [3, c, 2 * latent] | float32[B, T, 2 * latent] |

| decoder | kernel | output |
|---|---|---|
| `conv_in` | [7, latent, c] | float32[B, T, c] |
| `block_i`: snake; `up`; residual units of dilation 1, 3, 9 | [2s, c, c']; [7, c', c'], [1, c', c'] | [B, n *
s, c'] | | `snake_out`, `conv_out`, no bias | [7, C, channels] | float32[B, S, channels] |

Source: Evans et al. (2024), "Fast timing-conditioned latent audio diffusion" and Stable Audio Open.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from dualdub_jax.decoders.oobleck.config import OobleckConfig
from dualdub_jax.layers.conv1d import Conv1d, Snake, SnakeDownBlock, SnakeUpBlock, upsampled, within
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

PyTree = Any  # nested dictionaries of arrays

_LEAST_STD = 1e-4


class OobleckEncoder(nn.Module):
    """Encodes waveforms; the table above has the shapes.

    Attributes:
        config: sizes.
    """

    config: OobleckConfig

    @nn.compact
    @checked
    def __call__(
        self, waveform: Float[Array, "B S C"], mask: Bool[Array, "B T"] | None = None
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B T D"]]:
        """Encodes.

        Args:
            waveform: float32[B, S, C] in [-1, 1]; S a multiple of `samples_per_latent`.
            mask: bool[B, T], True for valid latents, a prefix of each row; samples outside are ignored. None:
                all.

        Returns:
            Mean and standard deviation of the latents, float32[B, T, latent_dim] each; undefined outside the
            mask.
        """
        config = self.config
        lengths = None if mask is None else jnp.sum(mask, axis=1) * config.samples_per_latent
        x = Conv1d(config.width, 7, name="conv_in")(waveform, lengths)
        for i, (stride, multiple) in enumerate(zip(config.strides, config.multiples, strict=True)):
            x = SnakeDownBlock(config.width * multiple, stride, is_log=True, name=f"block_{i}")(x, lengths)
            lengths = None if lengths is None else lengths // stride
        x = Conv1d(2 * config.latent_dim, 3, name="conv_out")(Snake(True, name="snake_out")(x), lengths)
        mean, scale = jnp.split(x, 2, axis=-1)
        return mean, nn.softplus(scale) + _LEAST_STD


class OobleckDecoder(nn.Module):
    """Decodes latents; the table above has the shapes.

    Attributes:
        config: sizes.
    """

    config: OobleckConfig

    @nn.compact
    @checked
    def __call__(
        self, latents: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None = None
    ) -> Float[Array, "B S C"]:
        """Decodes.

        Args:
            latents: float32[B, T, latent_dim].
            mask: bool[B, T], True for valid latents, a prefix of each row. None: all.

        Returns:
            float32[B, T * samples_per_latent, num_channels], not clipped; zeros outside the mask.
        """
        config = self.config
        widths = [config.decoder_width * multiple for multiple in (1, *config.multiples)]
        lengths = None if mask is None else jnp.sum(mask, axis=1)
        x = Conv1d(widths[-1], 7, name="conv_in")(latents, lengths)
        for i, stride in enumerate(reversed(config.strides)):
            x = SnakeUpBlock(widths[-2 - i], stride, is_log=True, name=f"block_{i}")(x, lengths)
            lengths = None if lengths is None else upsampled(lengths, stride)
        x = Snake(True, name="snake_out")(x)
        return within(Conv1d(config.num_channels, 7, use_bias=False, name="conv_out")(x, lengths), lengths)


def decoder_context(config: OobleckConfig) -> int:
    """Latents on each side that a sample of `OobleckDecoder` depends on."""
    factor, reach = 1, 3.0  # samples per latent so far; latents
    for stride in reversed(config.strides):
        reach += 1 / factor  # a transposed convolution reads two inputs
        factor *= stride
        reach += 3 * (1 + 3 + 9) / factor
    return math.ceil(reach + 3 / factor)


def abstract_autoencoder(config: OobleckConfig) -> PyTree:
    """`jax.ShapeDtypeStruct`s of {"encoder", "decoder": parameters}."""
    waveform = jnp.zeros((1, config.samples_per_latent, config.num_channels))
    latents = jnp.zeros((1, 1, config.latent_dim))
    key = jax.random.key(0)
    return jax.eval_shape(
        lambda: nn.unbox(
            {
                "encoder": OobleckEncoder(config).init(key, waveform)["params"],
                "decoder": OobleckDecoder(config).init(key, latents)["params"],
            }
        )
    )
