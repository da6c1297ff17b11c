"""One-dimensional convolutions of public audio autoencoders, on rows of unequal lengths, and the snake unit.

Positions past a row's length count as zeros, as if the sequence ended there: each row of a padded batch gives
what it gives alone.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange


def within(x: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """float[B, T, C] with zeros past int32[B]; None: every row is T long."""
    if lengths is None:
        return x
    return jnp.where((jnp.arange(x.shape[1]) < lengths[:, None])[..., None], x, 0.0)


class Conv1d(nn.Module):
    """A convolution over time with zero padding; `T / stride` outputs for T a multiple of the stride.

    Attributes:
        features: output channels.
        kernel_size: taps.
        stride: input samples per output.
        dilation: distance of taps.
        use_bias: add a bias.
    """

    features: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """float[B, T, C], int32[B] or None -> float[B, T / stride, features]."""
        init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("kernel", "patch", "patch"))
        kernel = self.param("kernel", init, (self.kernel_size, x.shape[-1], self.features))
        margin = -(-((self.kernel_size - 1) * self.dilation + 1 - self.stride) // 2)
        y = jax.lax.conv_general_dilated(
            within(x, lengths), kernel, (self.stride,), [(margin, margin)],
            rhs_dilation=(self.dilation,), dimension_numbers=("NWC", "WIO", "NWC"),
        )  # fmt: skip
        if not self.use_bias:
            return y
        zeros = nn.with_logical_partitioning(nn.initializers.zeros_init(), ("patch",))
        return y + self.param("bias", zeros, (self.features,))


def upsampled(length: int | jax.Array, stride: int) -> int | jax.Array:
    """Outputs of `UpsampleConv1d`: an odd stride loses the last one."""
    return length * stride - stride % 2


class UpsampleConv1d(nn.Module):
    """A transposed convolution with a kernel of two strides: `upsampled(T, stride)` outputs.

    Computed as one product of the two inputs of every hop: several times faster on XLA's CPU backend than a
    convolution of the dilated input.

    Attributes:
        features: output channels.
        stride: outputs per input.
    """

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """float[B, T, C], int32[B] or None -> float[B, upsampled(T, stride), features]."""
        init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("kernel", "patch", "patch"))
        kernel = self.param("kernel", init, (2 * self.stride, x.shape[-1], self.features))
        zeros = nn.with_logical_partitioning(nn.initializers.zeros_init(), ("patch",))
        bias = self.param("bias", zeros, (self.features,))
        x = within(x, lengths)
        # A hop of outputs is its own input by the kernel's first half, and the one before by its second.
        pairs = jnp.concatenate(
            [jnp.pad(x, ((0, 0), (0, 1), (0, 0))), jnp.pad(x, ((0, 0), (1, 0), (0, 0)))], axis=-1
        )
        hops = jnp.einsum("btc,ckf->btkf", pairs, rearrange(kernel, "(h k) c f -> (h c) k f", h=2))
        margin = -(-self.stride // 2)
        return rearrange(hops, "b t k f -> b (t k) f")[:, margin:-margin] + bias


class Snake(nn.Module):
    """x + sin²(αx) / β with learned α and β per channel (Ziyin et al., 2020).

    Attributes:
        is_log: the parameters are logarithms, as BigVGAN and Oobleck store them; otherwise β is α, as in DAC.
    """

    is_log: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float[B, T, C] -> float[B, T, C]."""
        start = nn.initializers.zeros_init() if self.is_log else nn.initializers.ones_init()
        init = nn.with_logical_partitioning(start, ("norm",))
        alpha = self.param("alpha", init, (x.shape[-1],))
        beta = alpha
        if self.is_log:
            alpha, beta = jnp.exp(alpha), jnp.exp(self.param("beta", init, (x.shape[-1],)))
        return x + jnp.square(jnp.sin(alpha * x)) / (beta + 1e-9)


class SnakeResidual(nn.Module):
    """x + conv1(snake(conv7(snake(x)))).

    Attributes:
        dilation: of the first convolution.
        is_log: see `Snake`.
    """

    dilation: int
    is_log: bool

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None) -> jax.Array:
        """float[B, T, C], int32[B] or None -> float[B, T, C]."""
        width = x.shape[-1]
        h = Snake(self.is_log, name="snake_in")(x)
        h = Conv1d(width, 7, dilation=self.dilation, name="conv")(h, lengths)
        return x + Conv1d(width, 1, name="project")(Snake(self.is_log, name="snake_out")(h))


def _residuals(x: jax.Array, lengths: jax.Array | None, is_log: bool) -> jax.Array:
    for dilation in (1, 3, 9):
        x = SnakeResidual(dilation, is_log, name=f"unit_{dilation}")(x, lengths)
    return x


class SnakeDownBlock(nn.Module):
    """Residual units of dilation 1, 3, 9, snake, and a convolution of two strides.

    Attributes:
        features: output channels.
        stride: input samples per output.
        is_log: see `Snake`.
    """

    features: int
    stride: int
    is_log: bool

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None) -> jax.Array:
        """float[B, T, C], int32[B] or None -> float[B, T / stride, features]."""
        x = Snake(self.is_log, name="snake")(_residuals(x, lengths, self.is_log))
        return Conv1d(self.features, 2 * self.stride, self.stride, name="down")(x, lengths)


class SnakeUpBlock(nn.Module):
    """Snake, a transposed convolution of two strides, and residual units of dilation 1, 3, 9.

    Attributes:
        features: output channels.
        stride: outputs per input.
        is_log: see `Snake`.
    """

    features: int
    stride: int
    is_log: bool

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None) -> jax.Array:
        """float[B, T, C], int32[B] or None -> float[B, upsampled(T, stride), features]."""
        up = UpsampleConv1d(self.features, self.stride, name="up")
        x = up(Snake(self.is_log, name="snake")(x), lengths)
        return _residuals(x, None if lengths is None else upsampled(lengths, self.stride), self.is_log)
