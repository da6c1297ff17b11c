"""The image tower of CLIP: a pre-norm vision transformer with a class token.

| module | kernel | output |
|---|---|---|
| `patch`, no bias | [P * P * 3, D] | float[n, (size / P)², D] |
| `class_token`, `positions` | [D], [1 + (size / P)², D] | [n, L, D] |
| `norm_in` | [D] | [n, L, D] |
| `block_i`: norm, attention; norm, x * sigmoid(1.702 x) MLP | [D, D] × 4, [D, M], [M, D] | [n, L, D] |
| `norm_out`, of the class token alone | [D] | [n, D] |
| `project`, no bias | [D, E] | float[n, E] |

Source: Radford et al. (2021), "Learning transferable visual models from natural language supervision".
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, UInt8

from dualdub_jax.encoders.image_tower import TowerBlock, dense, layer_norm, patches
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """Sizes and preprocessing of an image tower; the defaults are those of ViT-B/32."""

    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    patch_size: int = 32
    image_size: int = 224
    embedding_dim: int = 512  # 0: a tower without its projection
    activation: str = "quick_gelu"  # or "gelu", of towers trained by others
    norm_epsilon: float = 1e-5
    fit: str = "crop"
    filter: str = "bicubic"
    # Of RGB in [0, 1], on OpenAI's web pictures.
    pixel_mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    pixel_std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)


class ClipTower(nn.Module):
    """Encodes images in the dtype of its parameters; the table above has the shapes.

    Attributes:
        config: sizes.
    """

    config: ClipConfig

    @nn.compact
    @checked
    def __call__(
        self, images: UInt8[Array, "n size size 3"]
    ) -> tuple[Float[Array, "n E"] | None, Float[Array, "n D"]]:
        """Encodes.

        Args:
            images: uint8[n, size, size, 3], RGB, `config.image_size` pixels.

        Returns:
            The projected embedding float[n, embedding_dim], not normalised, None without a projection; and
            the class token before the projection, float[n, width].
        """
        config = self.config
        init = nn.initializers.normal(0.02)
        token = self.param("class_token", nn.with_logical_partitioning(init, ("embed",)), (config.width,))
        x = patches(config, images, token.dtype)
        x = dense(config.width, "patch", ("patch", "embed"), use_bias=False)(x)
        positions = self.param(
            "positions",
            nn.with_logical_partitioning(init, ("positions", "embed")),
            (1 + x.shape[1], config.width),
        )
        x = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, config.width)), x], axis=1) + positions
        x = layer_norm("norm_in", config.norm_epsilon)(x)
        for i in range(config.num_layers):
            x = TowerBlock(config, name=f"block_{i}")(x)
        pooled = layer_norm("norm_out", config.norm_epsilon)(x[:, 0])
        if not config.embedding_dim:
            return None, pooled
        return dense(config.embedding_dim, "project", ("embed", "patch"), use_bias=False)(pooled), pooled
