"""What the image towers of public models share: layers, the scaling of pixels, and extraction in batches."""

import functools
import json
import pathlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Float, UInt8

from dualdub_jax.checkpoints.converted import read_converted
from dualdub_jax.errors import UserError
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.parts.shapes import checked

PyTree = Any  # nested dictionaries of arrays

_BATCH = 8  # frames a call, so that one program serves films of any length
_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
    "gelu": functools.partial(nn.gelu, approximate=False),
    "gelu_pytorch_tanh": functools.partial(nn.gelu, approximate=True),
}
ACTIVATIONS = tuple(_ACTIVATIONS)


class TowerConfig(Protocol):
    """The sizes of a tower that this file reads; see `ClipConfig`."""

    width: int
    num_heads: int
    mlp_width: int
    patch_size: int
    image_size: int
    activation: str
    norm_epsilon: float
    fit: str
    filter: str
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]


def dense(features: int, name: str, axes: tuple[str, str], use_bias: bool = True) -> nn.Dense:
    """A linear layer with logical axis names."""
    return nn.Dense(
        features,
        use_bias=use_bias,
        kernel_init=nn.with_logical_partitioning(nn.initializers.lecun_normal(), axes),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), axes[1:]),
        name=name,
    )


def layer_norm(name: str, epsilon: float) -> nn.LayerNorm:
    """A layer norm with logical axis names."""
    return nn.LayerNorm(
        epsilon=epsilon,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones_init(), ("norm",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), ("norm",)),
        name=name,
    )


def attention(config: TowerConfig, queries: jax.Array, x: jax.Array) -> jax.Array:
    """Multi-head attention, float[n, Q, D] to float[n, L, D] -> float[n, Q, D]; inside a compact module."""
    query, key, value = (
        rearrange(
            dense(config.width, name, ("embed", "heads"))(y), "n l (h d) -> n l h d", h=config.num_heads
        )
        for name, y in (("query", queries), ("key", x), ("value", x))
    )
    attended = rearrange(jax.nn.dot_product_attention(query, key, value), "n l h d -> n l (h d)")
    return dense(config.width, "out", ("heads", "embed"))(attended)


def mlp(config: TowerConfig, x: jax.Array) -> jax.Array:
    """Two linear layers with the tower's activation between them; inside a compact module."""
    h = _ACTIVATIONS[config.activation](dense(config.mlp_width, "up", ("embed", "mlp"))(x))
    return dense(config.width, "down", ("mlp", "embed"))(h)


class TowerBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    config: TowerConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float[n, L, D] -> float[n, L, D]."""
        epsilon = self.config.norm_epsilon
        h = layer_norm("norm_attention", epsilon)(x)
        x = x + attention(self.config, h, h)
        return x + mlp(self.config, layer_norm("norm_mlp", epsilon)(x))


def patches(config: TowerConfig, images: jax.Array, dtype: Any) -> jax.Array:
    """uint8[n, size, size, 3], RGB -> [n, patches, P * P * 3], scaled as the tower was trained."""
    pixels = images.astype(jnp.float32) / 255.0
    pixels = (pixels - jnp.asarray(config.pixel_mean)) / jnp.asarray(config.pixel_std)
    size = config.patch_size
    return rearrange(pixels.astype(dtype), "n (h p) (w q) c -> n (h w) (p q c)", p=size, q=size)


class TowerExtractor:
    """Implements `encoders.base.FeatureExtractor` for a tower of converted weights.

    Attributes:
        frame_spec: rate of its input frames, and their size and preprocessing, as the tower was trained.
        dim: of a vector.
        fingerprint: of weights, vector and preprocessing.
    """

    def __init__(
        self,
        kind: str,
        path: str,
        frame_rate_hz: str,
        dtype: str,
        vector: str,
        bind: Callable[[dict[str, Any]], tuple[TowerConfig, Callable[[PyTree, jax.Array], jax.Array]]],
    ) -> None:
        """Reads converted weights.

        Args:
            kind: of the tower, as `dualdub convert` names it.
            path: folder of `dualdub convert`.
            frame_rate_hz: frames a second.
            dtype: of the computation, "float32" or "bfloat16"; features are float32.
            vector: which one, for the fingerprint.
            bind: sizes -> config, and a function (parameters, images) -> features.

        Raises:
            UserError: no such folder, weights of another model, or an unknown dtype.
        """
        if dtype not in ("float32", "bfloat16"):
            raise UserError(f"{kind}(dtype={dtype!r}): expected 'float32' or 'bfloat16'")
        sizes, params = read_converted(pathlib.Path(path), kind)
        config, apply = bind(sizes)
        self._params = jax.device_put(jax.tree.map(lambda x: np.asarray(x, jnp.dtype(dtype)), params))
        self._apply = jax.jit(lambda params, images: apply(params, images).astype(jnp.float32))
        self.frame_spec = FrameSpec(Fraction(frame_rate_hz), config.image_size, config.fit, config.filter)
        images = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), np.uint8)
        self.dim = jax.eval_shape(self._apply, self._params, images).shape[1]
        source = json.loads((pathlib.Path(path) / "config.json").read_text(encoding="utf-8"))
        pixels = f"{config.fit}-{config.filter}-{dtype}"
        self.fingerprint = f"{kind}-{vector}-{pixels}-{source['sha256'][:16]}"

    @checked
    def extract(self, frames: UInt8[np.ndarray, "n size size 3"]) -> Float[np.ndarray, "n D_video"]:
        """See `FeatureExtractor.extract`."""
        parts = list(self._batches(frames))
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def _batches(self, frames: np.ndarray) -> Iterator[np.ndarray]:
        for first in range(0, len(frames), _BATCH):
            batch = frames[first : first + _BATCH]
            padded = np.pad(batch, ((0, _BATCH - len(batch)), (0, 0), (0, 0), (0, 0)))
            yield np.asarray(self._apply(self._params, padded))[: len(batch)]


def from_sizes(config: type, sizes: dict[str, Any]) -> Any:
    """A tower's config of the sizes that JSON keeps."""
    return config(**{key: tuple(x) if isinstance(x, list) else x for key, x in sizes.items()})
