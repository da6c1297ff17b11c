"""BEATs, the audio encoder of CASP: a deep-norm transformer over patches of a log-mel spectrogram.

Two differences leave the values unchanged: the weight norm of the positional convolution is folded into its
kernel, and the layers are scanned, so compile time does not grow with depth. Dropout and layer drop are not
implemented. `casp/convert/beats_from_torch.py` converts the public weights.

Source: Chen et al., "BEATs: Audio Pre-Training with Acoustic Tokenizers" (arXiv 2212.09058), the encoder of
the third iteration, reimplemented.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from dualdub_jax.casp.kaldi_fbank import beats_features
from dualdub_jax.config import BeatsConfig
from dualdub_jax.layers.relative_position import relative_buckets
from dualdub_jax.parallel.sharding import constrain

_UNIFORM_INIT = nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")
_NORMAL_INIT = nn.initializers.normal(0.02)
_GATE_SIZE = 8  # two gates, each the sum of four values


class Beats(nn.Module):
    """Encodes waveforms to one vector per patch (16 x 16: 160 ms by one eighth of the bands, low first)."""

    config: BeatsConfig

    @nn.compact
    def __call__(self, waveform: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Encodes waveforms.

        Args:
            waveform: float32[B, S] at 16 kHz, S at least one patch: `WINDOW_LENGTH` plus 15 hops.

        Returns:
            float32[B, L, width], L = patches in time times patches in frequency, frequency fastest; and
            named intermediates: "fbank" float32[B, T, num_mels], "patches" float32[B, L, width] (before
            the transformer), "layers" float32[num_layers, B, L, width].
        """
        config = self.config
        fbank = beats_features(waveform, config.num_mels)
        patches = PatchEmbedding(config, name="patch_embedding")(fbank)
        x = patches + PositionalConvolution(config, name="positional_convolution")(patches)
        x = layer_norm("input_norm")(x)
        bias = RelativeBias(config, name="relative_bias")(x.shape[1])
        layers = nn.scan(
            Layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=config.num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        x, outputs = layers(config, name="layers")(x, bias)
        return x, {"fbank": fbank, "patches": patches, "layers": outputs}


class PatchEmbedding(nn.Module):
    """float32[B, T, num_mels] -> float32[B, L, width]; frames past the last whole patch are dropped."""

    config: BeatsConfig

    @nn.compact
    def __call__(self, fbank: jax.Array) -> jax.Array:
        size = self.config.patch_size
        count = fbank.shape[1] // size
        patches = rearrange(
            fbank[:, : count * size], "b (t i) (f j) -> b (t f) (i j)", i=size, j=size
        )  # [B, L, patch_size ** 2]
        x = linear(self.config.patch_width, ("patch", "embed"), "patch", use_bias=False)(patches)
        x = layer_norm("norm")(x)
        if self.config.patch_width != self.config.width:
            x = linear(self.config.width, ("patch", "embed"), "projection")(x)
        return constrain(x, "batch", "length", "act_embed")


class PositionalConvolution(nn.Module):
    """Positional embedding by a wide grouped convolution: float32[B, L, D] -> float32[B, L, D]."""

    config: BeatsConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width, taps = self.config.width, self.config.conv_kernel_size
        init = nn.initializers.normal(math.sqrt(4.0 / (taps * width)))
        convolution = nn.Conv(
            width,
            (taps,),
            padding=[(taps // 2, (taps - 1) // 2)],
            feature_group_count=self.config.conv_num_groups,
            kernel_init=nn.with_logical_partitioning(init, ("kernel", "patch", "embed")),
            bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("embed",)),
            name="convolution",
        )
        return nn.gelu(convolution(x), approximate=False)


class RelativeBias(nn.Module):
    """Relative position bias per head and bucket, shared by all layers: L -> float32[N, L, L]."""

    config: BeatsConfig

    @nn.compact
    def __call__(self, length: int) -> jax.Array:
        table = self.param(
            "table",
            nn.with_logical_partitioning(_NORMAL_INIT, ("positions", "heads")),
            (self.config.num_buckets, self.config.num_heads),
            jnp.float32,
        )
        offset = np.arange(length)[None, :] - np.arange(length)[:, None]
        buckets = relative_buckets(offset, self.config.num_buckets, self.config.max_distance)
        return rearrange(table[buckets], "q k n -> n q k")


class Layer(nn.Module):
    """A deep-norm layer: self-attention and feed-forward, post-norm, with scaled residuals."""

    config: BeatsConfig

    @nn.compact
    def __call__(self, x: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Applies the layer.

        Args:
            x: float32[B, L, D].
            bias: float32[N, L, L], ungated relative position bias.

        Returns:
            float32[B, L, D], twice: the carry and the output of a scan.
        """
        config = self.config
        alpha = (2.0 * config.num_layers) ** 0.25
        init = _xavier((8.0 * config.num_layers) ** -0.25)
        x = scale_gradient(x, config.gradient_decay)
        attended = GatedAttention(config, name="attention")(x, bias)
        x = layer_norm("attention_norm")(alpha * x + attended)
        hidden = linear(config.mlp_width, ("embed", "mlp"), "up", init=init)(x)
        hidden = constrain(nn.gelu(hidden, approximate=False), "batch", "length", "act_mlp")
        x = layer_norm("mlp_norm")(
            alpha * x + linear(config.width, ("mlp", "embed"), "down", init=init)(hidden)
        )
        x = constrain(x, "batch", "length", "act_embed")
        return x, x


class GatedAttention(nn.Module):
    """Self-attention with a relative position bias gated by the query."""

    config: BeatsConfig

    @nn.compact
    def __call__(self, x: jax.Array, bias: jax.Array) -> jax.Array:
        """float32[B, L, D] and float32[N, L, L] -> float32[B, L, D]."""
        config = self.config
        beta = (8.0 * config.num_layers) ** -0.25

        def heads(name: str, gain: float) -> jax.Array:
            y = linear(config.width, ("embed", "heads"), name, init=_xavier(gain))(x)
            y = rearrange(y, "b l (n h) -> b l n h", n=config.num_heads)
            return constrain(y, "batch", "length", "act_heads", None)

        query, key, value = heads("query", 1.0), heads("key", 1.0), heads("value", beta)
        gates = linear(_GATE_SIZE, ("head_dim", "patch"), "gates", init=_NORMAL_INIT)(query)
        gates = nn.sigmoid(rearrange(gates, "b l n (g s) -> g b n l s", g=2).sum(axis=-1))
        scale = self.param(
            "gate_scale",
            nn.with_logical_partitioning(nn.initializers.ones, ("heads",)),
            (config.num_heads,),
            jnp.float32,
        )
        strength = gates[0] * (gates[1] * scale[:, None] - 1.0) + 2.0  # [B, N, L]
        logits = jnp.einsum("BQNH,BKNH->BNQK", query, key) * query.shape[-1] ** -0.5
        weights = nn.softmax(logits + strength[..., None] * bias, axis=-1)
        attended = rearrange(jnp.einsum("BNQK,BKNH->BQNH", weights, value), "b l n h -> b l (n h)")
        return linear(config.width, ("heads", "embed"), "out", init=_xavier(beta))(attended)


def scale_gradient(x: jax.Array, factor: float) -> jax.Array:
    """The identity, whose gradient is multiplied by `factor`."""
    if factor == 1.0:
        return x
    return factor * x + jax.lax.stop_gradient((1.0 - factor) * x)


def linear(
    features: int,
    axes: tuple[str, str],
    name: str,
    *,
    use_bias: bool = True,
    init: nn.initializers.Initializer = _UNIFORM_INIT,
) -> nn.Dense:
    """A float32 linear layer; `axes` are the logical axis names of its input and output."""
    return nn.Dense(
        features,
        use_bias=use_bias,
        kernel_init=nn.with_logical_partitioning(init, axes),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, (axes[1],)),
        name=name,
    )


def layer_norm(name: str) -> nn.LayerNorm:
    """LayerNorm over the last axis with PyTorch's ε and a two-pass variance."""
    return nn.LayerNorm(
        epsilon=1e-5,
        use_fast_variance=False,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones, ("norm",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("norm",)),
        name=name,
    )


def _xavier(gain: float) -> nn.initializers.Initializer:
    return nn.initializers.variance_scaling(gain**2, "fan_avg", "normal")
