"""Causal one-dimensional convolutions, of a whole sequence or of one that continues.

Applied with the collection "stream" mutable, a layer continues where its last call ended: it keeps what the
next outputs need of the past, zeros at first. Outputs of consecutive pieces then are those of one call.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from dualdub_jax.layers.conv1d import within

STREAM = "stream"


def num_outputs(length: int | jax.Array, stride: int) -> int | jax.Array:
    """Outputs of a causal convolution with this stride: ceil(length / stride)."""
    return -(-length // stride)


class CausalConv1d(nn.Module):
    """A convolution whose outputs depend on no later inputs; `ceil(T / stride)` outputs.

    Attributes:
        features: output channels.
        kernel_size: taps.
        stride: input samples per output; streams need 1.
        dilation: distance of taps.
        use_bias: add a bias.
        is_replicated: inputs before the first and after the last of a row equal these; otherwise zero.
    """

    features: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    use_bias: bool = True
    is_replicated: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """float[B, T, C], int32[B] or None (all T) -> float[B, ceil(T / stride), features]."""
        init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("kernel", "patch", "patch"))
        kernel = self.param("kernel", init, (self.kernel_size, x.shape[-1], self.features))
        left, right = (self.kernel_size - 1) * self.dilation + 1 - self.stride, -x.shape[1] % self.stride
        if self.is_replicated:
            ends = jnp.full(len(x), x.shape[1]) if lengths is None else lengths
            index = jnp.clip(jnp.arange(-left, x.shape[1] + right), 0, jnp.maximum(ends, 1)[:, None] - 1)
            x = jnp.take_along_axis(x, index[..., None], axis=1)
        else:
            x = jnp.pad(self._continued(within(x, lengths), left), ((0, 0), (0, right), (0, 0)))
        y = jax.lax.conv_general_dilated(
            x, kernel, (self.stride,), "VALID", rhs_dilation=(self.dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )  # fmt: skip
        if not self.use_bias:
            return y
        zeros = nn.with_logical_partitioning(nn.initializers.zeros_init(), ("patch",))
        return y + self.param("bias", zeros, (self.features,))

    def _continued(self, x: jax.Array, num_past: int) -> jax.Array:
        zeros = jnp.zeros((len(x), num_past, x.shape[-1]), x.dtype)
        if not self.is_mutable_collection(STREAM):
            return jnp.concatenate([zeros, x], axis=1)
        past = self.variable(STREAM, "past", lambda: zeros)
        joined = jnp.concatenate([past.value, x], axis=1)
        past.value = joined[:, joined.shape[1] - num_past :]
        return joined


class CausalUpsampleConv1d(nn.Module):
    """A transposed convolution with a kernel of two strides, causal: `T * stride` outputs.

    Attributes:
        features: output channels.
        stride: outputs per input.
        num_groups: of channels that are convolved by themselves.
        use_bias: add a bias.
    """

    features: int
    stride: int
    num_groups: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float[B, T, C] -> float[B, T * stride, features]."""
        groups = self.num_groups
        init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("kernel", "patch", "patch"))
        kernel = self.param("kernel", init, (2 * self.stride, x.shape[-1], self.features // groups))
        first = jnp.zeros_like(x[:, :1])
        if self.is_mutable_collection(STREAM):
            past = self.variable(STREAM, "past", lambda: first)
            first, past.value = past.value, x[:, -1:]
        # A hop of outputs is its own input by the kernel's first half, and the one before by its second.
        pairs = jnp.stack([x, jnp.concatenate([first, x[:, :-1]], axis=1)], axis=2)
        hops = jnp.einsum(
            "bthgc,hkgcf->btkgf",
            rearrange(pairs, "b t h (g c) -> b t h g c", g=groups),
            rearrange(kernel, "(h k) (g c) f -> h k g c f", h=2, g=groups),
        )
        y = rearrange(hops, "b t k g f -> b (t k) (g f)")
        if not self.use_bias:
            return y
        zeros = nn.with_logical_partitioning(nn.initializers.zeros_init(), ("patch",))
        return y + self.param("bias", zeros, (self.features,))
