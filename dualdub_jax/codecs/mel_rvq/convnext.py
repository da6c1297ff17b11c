"""The one-dimensional ConvNeXt block of encoder, decoder and vocoder.

Positions outside the mask are zeroed before every convolution, as if the sequence ended there: padding does
not leak, and a stream can be decoded in chunks with `receptive_frames` of context on each side.
Source: Liu et al. (2022) in one dimension, as in Vocos (Siuzdak, 2023). The depthwise
convolution is a sum of shifted products: about twenty times faster than a grouped convolution on XLA's CPU
backend, one fused loop on accelerators.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from dualdub_jax.parallel.sharding import constrain


def receptive_frames(num_blocks: int, kernel_size: int) -> int:
    """Receptive field of `num_blocks` blocks on each side of a frame, frames."""
    return num_blocks * (kernel_size // 2)


def dense(
    features: int, name: str, axes: Sequence[str | None], use_bias: bool = True, scale: float = 1.0
) -> nn.Dense:
    """A dense layer with logical axis names.

    Args:
        features: output width.
        name: of the submodule.
        axes: logical axis names of the kernel, (input, output).
        use_bias: add a bias, initialised to zero.
        scale: factor on the variance of the initial kernel.
    """
    kernel_init = nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal")
    return nn.Dense(
        features,
        use_bias=use_bias,
        kernel_init=nn.with_logical_partitioning(kernel_init, tuple(axes)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), (axes[-1],)),
        name=name,
    )


def layer_norm(name: str) -> nn.LayerNorm:
    """A layer norm with logical axis names."""
    return nn.LayerNorm(
        epsilon=1e-6,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones_init(), ("norm",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), ("norm",)),
        name=name,
    )


class DepthwiseConv(nn.Module):
    """Centred depthwise convolution over time, zero-padded at both ends.

    Attributes:
        kernel_size: odd number of taps.
    """

    kernel_size: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32[B, T, D] -> float32[B, T, D].

        Raises:
            ValueError: `kernel_size` is even.
        """
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd to be centred, got {self.kernel_size}")
        init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", in_axis=0, out_axis=())
        shape = (self.kernel_size, x.shape[-1])
        kernel = self.param("kernel", nn.with_logical_partitioning(init, ("kernel", "embed")), shape)
        reach = self.kernel_size // 2
        padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)))
        return sum(padded[:, i : i + x.shape[1]] * kernel[i] for i in range(self.kernel_size))


class ConvNeXtBlock(nn.Module):
    """x + MLP(LayerNorm(depthwise convolution of x)).

    Attributes:
        kernel_size: odd number of taps of the convolution.
        expansion: ratio of the hidden width to the width of `x`.
    """

    kernel_size: int
    expansion: int = 2

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Applies the block.

        Args:
            x: float32[B, T, D].
            mask: bool[B, T], True for valid frames.
            condition: float32[B, C], scales and shifts the output of the layer norm (FiLM, Perez et al.,
                2018); None: unconditioned.

        Returns:
            float32[B, T, D]; undefined outside the mask.
        """
        width = x.shape[-1]
        h = jnp.where(mask[..., None], x, 0.0)
        h = DepthwiseConv(self.kernel_size, name="conv")(h)
        h = layer_norm("norm")(h)
        if condition is not None:
            film = dense(2 * width, "film", ("patch", "embed"), scale=0.1)(condition)[:, None]
            h = h * (1.0 + film[..., :width]) + film[..., width:]
        h = dense(self.expansion * width, "up", ("embed", "mlp"))(h)
        h = constrain(nn.gelu(h), "batch", "length", "act_mlp")
        # A small initial kernel, so that each block starts near the identity.
        return x + dense(width, "down", ("mlp", "embed"), scale=0.1)(h)
