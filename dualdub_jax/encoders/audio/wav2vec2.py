"""wav2vec 2.0 and WavLM, base size: self-supervised encoders of speech, 50 frames per second.

| module | kernel | output |
|---|---|---|
| `conv_i`, no bias, GELU; group norm over time after the first | [K, C, 512] | float32[B, T, 512] |
| `features_norm`, `project` | [512, D] | [B, T, D] |
| `positions`: grouped convolution, GELU, added; `norm` | [128, D / 16, D] | [B, T, D] |
| `block_i`: attention, norm; GELU MLP, norm, each with a residual connection | [D, D] × 4, [D, M], [M, D] | [B, T, D] |

WavLM's attention has a relative position bias that the layer's input gates. Each row of a padded batch gives
what it gives alone. Sources: Baevski et al. (2020), "wav2vec 2.0"; Chen et al. (2022), "WavLM".
"""  # noqa: E501

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from dualdub_jax.layers.conv1d import within
from dualdub_jax.layers.relative_position import relative_buckets

SAMPLE_RATE_HZ = 16_000
_GATE_SIZE = 8  # two gates, each the sum of four values


@dataclasses.dataclass(frozen=True)
class Wav2Vec2Config:
    """Sizes; the defaults are those of the base models."""

    conv_widths: tuple[int, ...] = (512,) * 7
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    position_kernel: int = 128
    position_groups: int = 16
    num_buckets: int = 0  # of WavLM's relative position bias; 0: none, as in wav2vec 2.0
    max_distance: int = 800  # frames
    norm_epsilon: float = 1e-5


def num_frames(num_samples: int | jax.Array, config: Wav2Vec2Config) -> int | jax.Array:
    """Frames of the encoder for so many samples."""
    for kernel, stride in zip(config.conv_kernels, config.conv_strides, strict=True):
        num_samples = (num_samples - kernel) // stride + 1
    return num_samples


class FeatureEncoder(nn.Module):
    """The convolutions: 16 kHz to 50 frames per second."""

    config: Wav2Vec2Config

    @nn.compact
    def __call__(self, waveform: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        """float32[B, S], int32[B] -> float32[B, T, C], int32[B] frames of each row."""
        config = self.config
        x = within(waveform[..., None], lengths)
        sizes = zip(config.conv_widths, config.conv_kernels, config.conv_strides, strict=True)
        for i, (width, kernel, stride) in enumerate(sizes):
            conv = nn.Conv(
                width,
                (kernel,),
                stride,
                padding="VALID",
                use_bias=False,
                kernel_init=nn.with_logical_partitioning(
                    nn.initializers.lecun_normal(), ("kernel", "patch", "embed")
                ),
                name=f"conv_{i}",
            )
            x, lengths = conv(x), (lengths - kernel) // stride + 1
            if i == 0:
                x = ChannelNorm(config.norm_epsilon, name="conv_norm")(x, lengths)
            x = within(nn.gelu(x, approximate=False), lengths)
        return x, lengths


class ChannelNorm(nn.Module):
    """Normalises each channel of a row over time (group norm with one channel a group)."""

    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array) -> jax.Array:
        """float32[B, T, C], int32[B] -> float32[B, T, C]."""
        partitioned = nn.with_logical_partitioning
        scale = self.param("scale", partitioned(nn.initializers.ones_init(), ("norm",)), (x.shape[-1],))
        bias = self.param("bias", partitioned(nn.initializers.zeros_init(), ("norm",)), (x.shape[-1],))
        count = lengths[:, None, None]
        mean = within(x, lengths).sum(axis=1, keepdims=True) / count
        centred = within(x - mean, lengths)
        variance = jnp.square(centred).sum(axis=1, keepdims=True) / count
        return centred * jax.lax.rsqrt(variance + self.epsilon) * scale + bias


class Positions(nn.Module):
    """Positional embedding by a wide grouped convolution."""

    config: Wav2Vec2Config

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32[B, T, D], zero past the rows' ends -> float32[B, T, D]."""
        config = self.config
        taps = config.position_kernel
        conv = nn.Conv(
            config.width,
            (taps,),
            padding=[(taps // 2, (taps - 1) // 2)],
            feature_group_count=config.position_groups,
            kernel_init=nn.with_logical_partitioning(
                nn.initializers.lecun_normal(), ("kernel", "patch", "embed")
            ),
            bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), ("embed",)),
            name="conv",
        )
        return nn.gelu(conv(x), approximate=False)


class Block(nn.Module):
    """A post-norm layer."""

    config: Wav2Vec2Config

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, bias: jax.Array | None) -> jax.Array:
        """Applies the layer.

        Args:
            x: float32[B, T, D].
            mask: bool[B, 1, 1, T], frames that exist.
            bias: float32[N, T, T], WavLM's relative position bias before its gates; None: none.

        Returns:
            float32[B, T, D].
        """
        config = self.config
        query, key, value = (
            rearrange(
                dense(config.width, name, ("embed", "heads"))(x), "b t (n h) -> b n t h", n=config.num_heads
            )
            for name in ("query", "key", "value")
        )
        logits = jnp.einsum("bnqh,bnkh->bnqk", query * query.shape[-1] ** -0.5, key)
        if bias is not None:
            logits = logits + PositionGates(config.num_heads, name="gates")(x)[..., None] * bias
        weights = nn.softmax(jnp.where(mask, logits, -jnp.inf), axis=-1)
        attended = rearrange(jnp.einsum("bnqk,bnkh->bnqh", weights, value), "b n t h -> b t (n h)")
        x = x + dense(config.width, "out", ("heads", "embed"))(attended)
        x = norm("attention_norm", config.norm_epsilon)(x)
        h = nn.gelu(dense(config.mlp_width, "up", ("embed", "mlp"))(x), approximate=False)
        x = x + dense(config.width, "down", ("mlp", "embed"))(h)
        return norm("mlp_norm", config.norm_epsilon)(x)


class PositionGates(nn.Module):
    """The factor of the relative position bias for each query, from its frame (gated recurrent bias)."""

    num_heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32[B, T, D] -> float32[B, N, T]."""
        heads = rearrange(x, "b t (n h) -> b n t h", n=self.num_heads)
        gates = dense(_GATE_SIZE, "linear", ("head_dim", "patch"))(heads)
        reset, update = nn.sigmoid(rearrange(gates, "b n t (g s) -> g b n t s", g=2).sum(axis=-1))
        init = nn.with_logical_partitioning(nn.initializers.ones_init(), ("heads",))
        scale = self.param("scale", init, (self.num_heads,))
        return reset * (update * scale[:, None] - 1.0) + 2.0


class Wav2Vec2(nn.Module):
    """Encodes speech; the table above has the shapes.

    Attributes:
        config: sizes.
    """

    config: Wav2Vec2Config

    @nn.compact
    def __call__(self, waveform: jax.Array, lengths: jax.Array) -> tuple[list[jax.Array], jax.Array]:
        """Encodes.

        Args:
            waveform: float32[B, S] at 16 kHz; past a row's length it is ignored.
            lengths: int32[B], samples of each row, at least 400.

        Returns:
            The input of the first layer and every layer's output, float32[B, T, D] each, and int32[B], the
            frames of each row.
        """
        config = self.config
        x, lengths = FeatureEncoder(config, name="features")(waveform, lengths)
        x = norm("features_norm", config.norm_epsilon)(x)
        x = within(dense(config.width, "project", ("patch", "embed"))(x), lengths)
        x = norm("norm", config.norm_epsilon)(x + Positions(config, name="positions")(x))
        mask = (jnp.arange(x.shape[1]) < lengths[:, None])[:, None, None]
        bias = None
        if config.num_buckets:
            init = nn.with_logical_partitioning(nn.initializers.normal(0.02), ("positions", "heads"))
            table = self.param("relative_bias", init, (config.num_buckets, config.num_heads))
            offset = np.arange(x.shape[1])[None, :] - np.arange(x.shape[1])[:, None]
            buckets = relative_buckets(offset, config.num_buckets, config.max_distance)
            bias = rearrange(table[buckets], "q k n -> n q k")
        states = [x]
        for i in range(config.num_layers):
            states.append(Block(config, name=f"block_{i}")(states[-1], mask, bias))
        return states, lengths


def dense(features: int, name: str, axes: tuple[str, str]) -> nn.Dense:
    """A linear layer with logical axis names."""
    return nn.Dense(
        features,
        kernel_init=nn.with_logical_partitioning(nn.initializers.lecun_normal(), axes),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), axes[1:]),
        name=name,
    )


def norm(name: str, epsilon: float) -> nn.LayerNorm:
    """A layer norm with logical axis names and a two-pass variance."""
    return nn.LayerNorm(
        epsilon=epsilon,
        use_fast_variance=False,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones_init(), ("norm",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), ("norm",)),
        name=name,
    )
