"""Encoder, residual quantiser and decoder of DAC.

| encoder | kernel | output |
|---|---|---|
| `conv_in` | [7, 1, W] | float32[B, S, W] |
| `block_i`: residual units of dilation 1, 3, 9; snake; `down` | [7, c, c], [1, c, c]; [2s, c, 2c] | [B, n /
s, 2c] | | `snake_out`, `conv_out` | [3, D, D] | float32[B, T, D] |

| quantiser, per codebook | shape | |
|---|---|---|
| `in`, `out` | [D, d], [d, D] and biases | to and from the codebook's few dimensions |
| `codebook` | [K, d] | nearest by the cosine |

| decoder | kernel | output |
|---|---|---|
| `conv_in` | [7, D, V] | float32[B, T, V] |
| `block_i`: snake; `up`; residual units of dilation 1, 3, 9 | [2s, c, c/2]; [7, c/2, c/2] … | [B, n * s, c/2]
| | `snake_out`, `conv_out`, tanh | [7, c, 1] | float32[B, S] |

Source: Kumar et al. (2023). Odd strides lose a sample each, which the decoder's end is padded with.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dualdub_jax.codecs.dac.config import DacConfig
from dualdub_jax.layers.conv1d import Conv1d, Snake, SnakeDownBlock, SnakeUpBlock, upsampled, within

PyTree = Any  # nested dictionaries of arrays


class DacEncoder(nn.Module):
    """Encodes a waveform to latents; the table above has the shapes.

    Attributes:
        config: of the codec.
    """

    config: DacConfig

    @nn.compact
    def __call__(self, waveform: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Encodes.

        Args:
            waveform: float32[B, S], S a multiple of `samples_per_frame`.
            lengths: int32[B], samples of each row, such multiples too; None: all S.

        Returns:
            float32[B, S / samples_per_frame, D]; undefined past a row's frames.
        """
        width = self.config.width
        x = Conv1d(width, 7, name="conv_in")(waveform[..., None], lengths)
        for i, stride in enumerate(self.config.strides):
            width *= 2
            x = SnakeDownBlock(width, stride, is_log=False, name=f"block_{i}")(x, lengths)
            lengths = None if lengths is None else lengths // stride
        return Conv1d(self.config.latent_dim, 3, name="conv_out")(Snake(False, name="snake_out")(x), lengths)


class DacDecoder(nn.Module):
    """Decodes latents to a waveform; the table above has the shapes.

    Attributes:
        config: of the codec.
    """

    config: DacConfig

    @nn.compact
    def __call__(self, latents: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Decodes.

        Args:
            latents: float32[B, T, D].
            lengths: int32[B], frames of each row; None: all T.

        Returns:
            float32[B, T * samples_per_frame] in [-1, 1]; zeros past a row's end.
        """
        width, num_samples = self.config.decoder_width, latents.shape[1] * self.config.samples_per_frame
        x = Conv1d(width, 7, name="conv_in")(latents, lengths)
        for i, stride in enumerate(reversed(self.config.strides)):
            width //= 2
            x = SnakeUpBlock(width, stride, is_log=False, name=f"block_{i}")(x, lengths)
            lengths = None if lengths is None else upsampled(lengths, stride)
        x = jnp.tanh(Conv1d(1, 7, name="conv_out")(Snake(False, name="snake_out")(x), lengths))
        return jnp.pad(within(x, lengths)[..., 0], ((0, 0), (0, num_samples - x.shape[1])))


def quantise(quantiser: PyTree, latents: jax.Array, num_codebooks: int) -> jax.Array:
    """Codes of residuals, one codebook after the other.

    Args:
        quantiser: arrays with the codebooks in front, see the table above.
        latents: float32[B, T, D].
        num_codebooks: Q, the first ones of the quantiser.

    Returns:
        int32[B, T, Q].
    """

    def step(residual: jax.Array, layer: PyTree) -> tuple[jax.Array, jax.Array]:
        low = residual @ layer["in"]["kernel"] + layer["in"]["bias"]
        codes = jnp.argmax(_unit(low) @ _unit(layer["codebook"]).T, axis=-1).astype(jnp.int32)
        return residual - dequantise_one(layer, codes), codes

    first = jax.tree.map(lambda x: x[:num_codebooks], quantiser)
    _, codes = jax.lax.scan(step, latents, first)
    return jnp.moveaxis(codes, 0, -1)


def dequantise(quantiser: PyTree, codes: jax.Array) -> jax.Array:
    """int32[B, T, Q] -> latents float32[B, T, D], the sum over the first Q codebooks."""
    layers = jax.tree.map(lambda x: x[: codes.shape[-1]], quantiser)
    return jnp.sum(jax.vmap(dequantise_one, in_axes=(0, -1))(layers, codes), axis=0)


def dequantise_one(layer: PyTree, codes: jax.Array) -> jax.Array:
    """int32[B, T] -> float32[B, T, D], one codebook."""
    return layer["codebook"][codes] @ layer["out"]["kernel"] + layer["out"]["bias"]


def _unit(x: jax.Array) -> jax.Array:
    """Vectors of length one; as torch, those shorter than 1e-12 are divided by that."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
