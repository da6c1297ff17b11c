"""SigLIP and SigLIP 2 as a frozen feature extractor: one vector a frame, pooled by attention.

| module | kernel | output |
|---|---|---|
| `patch` | [P * P * 3, D] | float[n, (size / P)², D] |
| `positions` | [(size / P)², D] | [n, L, D] |
| `block_i`: norm, attention; norm, GELU MLP | [D, D] × 4, [D, M], [M, D] | [n, L, D] |
| `norm_out` | [D] | [n, L, D] |
| `pool`: attention of `probe`; norm, GELU MLP | [1, D], [D, D] × 4, [D, M], [M, D] | [n, D] |

The models of a fixed resolution; those of any ("naflex") have other patches.
Source: Zhai et al. (2023), "Sigmoid loss for language image pre-training"; Tschannen et al. (2025).
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8

from dualdub_jax.encoders.image_tower import (
    TowerBlock,
    TowerExtractor,
    attention,
    dense,
    from_sizes,
    layer_norm,
    mlp,
    patches,
)
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


@dataclasses.dataclass(frozen=True)
class SiglipConfig:
    """Sizes and preprocessing of an image tower; the defaults are those of SigLIP 2 B/16 at 224 pixels."""

    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    patch_size: int = 16
    image_size: int = 224
    activation: str = "gelu_pytorch_tanh"
    norm_epsilon: float = 1e-6
    fit: str = "stretch"
    filter: str = "bilinear"  # SigLIP 2; "bicubic": SigLIP
    pixel_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    pixel_std: tuple[float, ...] = (0.5, 0.5, 0.5)


class AttentionPool(nn.Module):
    """y + MLP(norm(y)) of y, the attention of one learned query to all vectors."""

    config: SiglipConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float[n, L, D] -> float[n, D]."""
        config = self.config
        init = nn.with_logical_partitioning(nn.initializers.normal(0.02), (None, "embed"))
        probe = self.param("probe", init, (1, config.width))
        pooled = attention(config, jnp.broadcast_to(probe, (len(x), 1, config.width)), x)
        return (pooled + mlp(config, layer_norm("norm_mlp", config.norm_epsilon)(pooled)))[:, 0]


class SiglipTower(nn.Module):
    """Encodes images in the dtype of its parameters; the table above has the shapes.

    Attributes:
        config: sizes.
    """

    config: SiglipConfig

    @nn.compact
    @checked
    def __call__(self, images: UInt8[Array, "n size size 3"]) -> Float[Array, "n D"]:
        """Encodes uint8[n, size, size, 3], RGB, `config.image_size` pixels, to float[n, width]."""
        config = self.config
        num_patches = (config.image_size // config.patch_size) ** 2
        init = nn.with_logical_partitioning(nn.initializers.normal(0.02), ("positions", "embed"))
        positions = self.param("positions", init, (num_patches, config.width))
        x = dense(config.width, "patch", ("patch", "embed"))(patches(config, images, positions.dtype))
        x = x + positions
        for i in range(config.num_layers):
            x = TowerBlock(config, name=f"block_{i}")(x)
        return AttentionPool(config, name="pool")(layer_norm("norm_out", config.norm_epsilon)(x))


class SiglipExtractor(TowerExtractor):
    """Implements `encoders.base.FeatureExtractor`; frames are stretched to squares, as SigLIP was trained."""

    def __init__(self, path: str = "", frame_rate_hz: str = "25/3", dtype: str = "float32") -> None:
        """Reads converted weights.

        Args:
            path: folder of `dualdub convert`.
            frame_rate_hz: frames a second; the default is every third of 25.
            dtype: of the computation, "float32" or "bfloat16".

        Raises:
            UserError: no such folder, weights of another model, or an unknown dtype.
        """

        def bind(sizes: dict[str, Any]) -> tuple[SiglipConfig, Any]:
            config = from_sizes(SiglipConfig, sizes)
            tower = SiglipTower(config)
            return config, lambda params, images: tower.apply({"params": params}, images)

        super().__init__("siglip", path, frame_rate_hz, dtype, "pooled", bind)
