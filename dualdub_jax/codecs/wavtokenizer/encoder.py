"""The encoder of WavTokenizer: strided convolutions and an LSTM, and the nearest entry of one codebook.

Every convolution reflects its input at both ends. In a batch of unequal lengths each row is reflected at its
own end, so that its tokens are those that it has alone. Weight norm is folded into the kernels at conversion.

| module | kernel | output |
|---|---|---|
| `conv_in` | [7, 1, F] | float32[B, S, F] |
| `block_i_j`: ELU, `conv`, ELU, `project`, plus `shortcut` | [3, C, C/2], [1, C/2, C], [1, C, C] | [B, n, C]
| | `down_i` | [2s, C, 2C], stride s | [B, ceil(n / s), 2C] | | `lstm_i` | input and recurrent [C, 4C], gates
i, f, g, o | [B, T, C] | | `conv_out` | [7, C, D] | float32[B, T, D] |

Source: Ji et al. (2024); the architecture is EnCodec's SEANet (Défossez et al., 2022), not causal.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from dualdub_jax.codecs.wavtokenizer.config import WavTokenizerConfig
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


def num_outputs(length: int | jax.Array, stride: int) -> int | jax.Array:
    """Frames of a convolution with this stride: ceil(length / stride)."""
    return -(-length // stride)


def reflect_pad(
    x: jax.Array, left: int, right: int, lengths: jax.Array | None, stride: int, kernel_right: int
) -> jax.Array:
    """Pads with reflections of the signal at its beginning and at the end of each row.

    A row too short for its reflection is extended by zeros first, as in EnCodec.

    Args:
        x: float32[B, T, C].
        left, right: samples to add to the array.
        lengths: int32[B], samples of each row, which may be NaN beyond; None: all T.
        stride: of the convolution that follows.
        kernel_right: reflected samples on the right of a row whose length is a multiple of the stride.

    Returns:
        float32[B, left + T + right, C].
    """
    if lengths is None:
        if max(left, right) < x.shape[1]:
            return jnp.pad(x, ((0, 0), (left, right), (0, 0)), mode="reflect")
        lengths = jnp.full(x.shape[0], x.shape[1])
    reach = jnp.maximum(left, kernel_right + num_outputs(lengths, stride) * stride - lengths)
    extended = jnp.maximum(lengths, reach + 1)[:, None]
    position = jnp.abs(jnp.arange(-left, x.shape[1] + right))[None]
    index = jnp.where(position < extended, position, 2 * (extended - 1) - position)
    is_inside = (index >= 0) & (index < lengths[:, None])
    taken = jnp.take_along_axis(x, jnp.clip(index, 0, x.shape[1] - 1)[..., None], axis=1)
    return jnp.where(is_inside[..., None], taken, 0.0)


class ReflectConv(nn.Module):
    """A convolution over time that reflects its input at both ends; `ceil(T / stride)` outputs.

    Attributes:
        features: output channels.
        kernel_size: taps.
        stride: input samples per output.
        dilation: distance of taps.
    """

    features: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
        """float32[B, T, C] and int32[B] or None -> float32[B, ceil(T / stride), features] and new lengths."""
        span = (self.kernel_size - 1) * self.dilation + 1
        right = (span - self.stride) // 2
        left = span - self.stride - right
        missing = num_outputs(x.shape[1], self.stride) * self.stride - x.shape[1]
        padded = reflect_pad(x, left, right + missing, lengths, self.stride, right)
        init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("kernel", "patch", "patch"))
        kernel = self.param("kernel", init, (self.kernel_size, x.shape[-1], self.features))
        bias_init = nn.with_logical_partitioning(nn.initializers.zeros_init(), ("patch",))
        bias = self.param("bias", bias_init, (self.features,))
        y = jax.lax.conv_general_dilated(
            padded, kernel, (self.stride,), "VALID", rhs_dilation=(self.dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )  # fmt: skip
        return y + bias, None if lengths is None else num_outputs(lengths, self.stride)


class ResidualBlock(nn.Module):
    """ELU, dilated convolution to C / compress, ELU, projection to C; plus a projected shortcut."""

    config: WavTokenizerConfig
    dilation: int

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None) -> jax.Array:
        """float32[B, T, C] -> float32[B, T, C]."""
        width, config = x.shape[-1], self.config
        conv = ReflectConv(
            width // config.compress, config.residual_kernel_size, dilation=self.dilation, name="conv"
        )
        h, _ = conv(nn.elu(x), lengths)
        h, _ = ReflectConv(width, 1, name="project")(nn.elu(h), lengths)
        shortcut, _ = ReflectConv(width, 1, name="shortcut")(x, lengths)
        return h + shortcut


class Lstm(nn.Module):
    """One unidirectional LSTM layer of the input's width; the input's products are computed at once."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32[B, T, C] -> float32[B, T, C]."""
        width = x.shape[-1]
        init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("patch", "mlp"))
        kernel = self.param("kernel", init, (width, 4 * width))
        recurrent = self.param("recurrent_kernel", init, (width, 4 * width))
        bias = self.param(
            "bias", nn.with_logical_partitioning(nn.initializers.zeros_init(), ("mlp",)), (4 * width,)
        )

        def step(carry: tuple[jax.Array, jax.Array], gates: jax.Array) -> tuple:
            hidden, cell = carry
            i, f, g, o = jnp.split(gates + hidden @ recurrent, 4, axis=-1)
            cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            hidden = nn.sigmoid(o) * jnp.tanh(cell)
            return (hidden, cell), hidden

        zeros = jnp.zeros((x.shape[0], width), x.dtype)
        _, hidden = jax.lax.scan(step, (zeros, zeros), jnp.swapaxes(x @ kernel + bias, 0, 1))
        return jnp.swapaxes(hidden, 0, 1)


class WavTokenizerEncoder(nn.Module):
    """Encodes a waveform to latents; the table above has the shapes.

    Attributes:
        config: of the codec.
    """

    config: WavTokenizerConfig

    @nn.compact
    def __call__(self, waveform: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Encodes.

        Args:
            waveform: float32[B, S].
            lengths: int32[B], samples of each row; the rest may be NaN. None: all S.

        Returns:
            float32[B, ceil(S / samples_per_frame), latent_dim]; undefined past a row's frames.
        """
        config = self.config
        width = config.num_filters
        x, lengths = ReflectConv(width, config.kernel_size, name="conv_in")(waveform[..., None], lengths)
        for i, stride in enumerate(config.strides):
            for j in range(config.num_residual_layers):
                x = ResidualBlock(config, config.dilation_growth**j, name=f"block_{i}_{j}")(x, lengths)
            width *= 2
            x, lengths = ReflectConv(width, 2 * stride, stride, name=f"down_{i}")(nn.elu(x), lengths)
        h = x
        for i in range(config.num_lstm_layers):
            h = Lstm(name=f"lstm_{i}")(h)
        return ReflectConv(config.latent_dim, config.kernel_size, name="conv_out")(nn.elu(h + x), lengths)[0]


@checked
def nearest_codes(latents: Float[Array, "B T D"], codebook: Float[Array, "K D"]) -> Int[Array, "B T"]:
    """The nearest codebook entries in Euclidean distance; of equal ones the first.

    Args:
        latents: float32[B, T, D].
        codebook: float32[K, D].

    Returns:
        int32[B, T] in [0, K).
    """
    scores = 2.0 * latents @ codebook.T - jnp.sum(jnp.square(codebook), axis=-1)
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)
