"""The image tower of CLIP: a pre-norm vision transformer with a class token.

| module | kernel | output |
|---|---|---|
| `patch`, no bias | [P * P * 3, D] | float32[n, (size / P)², D] |
| `class_token`, `positions` | [D], [1 + (size / P)², D] | [n, L, D] |
| `norm_in` | [D] | [n, L, D] |
| `block_i`: norm, attention; norm, x * sigmoid(1.702 x) MLP | [D, D] × 4, [D, M], [M, D] | [n, L, D] |
| `norm_out`, of the class token alone | [D] | [n, D] |
| `project`, no bias | [D, E] | float32[n, E] |

Source: Radford et al. (2021), "Learning transferable visual models from natural language supervision".
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Float, UInt8

from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

# Of ImageNet-like web pictures; mean and standard deviation of RGB in [0, 1].
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """Sizes of an image tower; the defaults are those of ViT-B/32."""

    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    patch_size: int = 32
    image_size: int = 224
    embedding_dim: int = 512
    activation: str = "quick_gelu"  # or "gelu", of towers trained by others
    norm_epsilon: float = 1e-5


def _dense(features: int, name: str, axes: tuple[str, str], use_bias: bool = True) -> nn.Dense:
    return nn.Dense(
        features,
        use_bias=use_bias,
        kernel_init=nn.with_logical_partitioning(nn.initializers.lecun_normal(), axes),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), axes[1:]),
        name=name,
    )


class ClipBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    config: ClipConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32[n, L, D] -> float32[n, L, D]."""
        config = self.config
        h = layer_norm("norm_attention", config.norm_epsilon)(x)
        query, key, value = (
            rearrange(
                _dense(config.width, name, ("embed", "heads"))(h), "n l (h d) -> n l h d", h=config.num_heads
            )
            for name in ("query", "key", "value")
        )
        attended = rearrange(jax.nn.dot_product_attention(query, key, value), "n l h d -> n l (h d)")
        x = x + _dense(config.width, "out", ("heads", "embed"))(attended)
        h = layer_norm("norm_mlp", config.norm_epsilon)(x)
        h = _dense(config.mlp_width, "up", ("embed", "mlp"))(h)
        if config.activation == "quick_gelu":
            h = h * nn.sigmoid(1.702 * h)
        else:
            h = nn.gelu(h, approximate=False)
        return x + _dense(config.width, "down", ("mlp", "embed"))(h)


def layer_norm(name: str, epsilon: float) -> nn.LayerNorm:
    """A layer norm with logical axis names."""
    return nn.LayerNorm(
        epsilon=epsilon,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones_init(), ("norm",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), ("norm",)),
        name=name,
    )


class ClipTower(nn.Module):
    """Encodes images; the table above has the shapes.

    Attributes:
        config: sizes.
    """

    config: ClipConfig

    @nn.compact
    @checked
    def __call__(
        self, images: UInt8[Array, "n size size 3"]
    ) -> tuple[Float[Array, "n E"], Float[Array, "n D"]]:
        """Encodes.

        Args:
            images: uint8[n, size, size, 3], RGB, `config.image_size` pixels.

        Returns:
            The projected embedding float32[n, embedding_dim], not normalised, and the class token before the
            projection, float32[n, width].
        """
        config = self.config
        pixels = images.astype(jnp.float32) / 255.0
        pixels = (pixels - jnp.asarray(PIXEL_MEAN)) / jnp.asarray(PIXEL_STD)
        patches = rearrange(
            pixels, "n (h p) (w q) c -> n (h w) (p q c)", p=config.patch_size, q=config.patch_size
        )
        x = _dense(config.width, "patch", ("patch", "embed"), use_bias=False)(patches)
        init = nn.initializers.normal(0.02)
        token = self.param("class_token", nn.with_logical_partitioning(init, ("embed",)), (config.width,))
        positions = self.param(
            "positions",
            nn.with_logical_partitioning(init, ("positions", "embed")),
            (1 + x.shape[1], config.width),
        )
        x = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, config.width)), x], axis=1) + positions
        x = layer_norm("norm_in", config.norm_epsilon)(x)
        for i in range(config.num_layers):
            x = ClipBlock(config, name=f"block_{i}")(x)
        pooled = layer_norm("norm_out", config.norm_epsilon)(x[:, 0])
        return _dense(config.embedding_dim, "project", ("embed", "patch"), use_bias=False)(pooled), pooled
