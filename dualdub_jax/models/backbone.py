"""The backbone of the language model: its contract, and the kind "transformer"."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
from jaxtyping import Bool, Float, Int

from dualdub_jax.config import ModelConfig
from dualdub_jax.layers.transformer import StackCache, Transformer
from dualdub_jax.parts.shapes import checked
from dualdub_jax.parts.slot import Slot
from dualdub_jax.types import Array

Cache = Any  # a pytree of arrays, returned by a backbone's `empty_cache`


class BackboneOutput(NamedTuple):
    """Hidden states float[B, T, D], and the updated cache (None without one)."""

    state: jax.Array
    cache: Cache


class Backbone(Protocol):
    """A linen module with this field; selected by `config.model.backbone`.

    Optional: `unstacked(params) -> params`, the module's parameters in a second layout that it accepts as
    well, see models/decoding_params.py.
    """

    config: ModelConfig

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "#B T S"],
        positions: Int[Array, " T"],
        cache: Cache = None,
        cache_index: Int[Array, ""] | int | None = None,
    ) -> BackboneOutput:
        """Runs the stack.

        Args:
            x: float[B, T, D], prefix and fused frames.
            mask: bool[B or 1, T, S], True where a position may attend; S = T without a cache, else the length
                of the cache.
            positions: int32[T].
            cache: from `empty_cache` or the previous call; None: no cache.
            cache_index: first position of the cache to write.

        Returns:
            Hidden states float[B, T, D], and the updated cache.
        """
        ...

    def empty_cache(self, batch_size: int, length: int) -> Cache:
        """Allocates a cache for `batch_size` sequences of `length` positions."""
        ...


class TransformerBackbone(nn.Module):
    """A pre-norm transformer of the Llama and Qwen family.

    Source: the paper's LLaMA architecture; sizes are set by the config.

    Attributes:
        config: of the model.
    """

    config: ModelConfig

    def setup(self):
        config = self.config
        self.stack = Transformer(
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            mlp_width=config.mlp_width,
            rope_theta=config.rope_theta,
            use_qkv_bias=config.use_qkv_bias,
            use_qk_norm=config.use_qk_norm,
            remat_policy=config.remat_policy,
            attention_implementation=config.attention_implementation,
            dtype=config.compute_dtype,
            rope_scaling=config.rope_scaling,
            norm_epsilon=config.rms_norm_eps,
        )
        nn.share_scope(self, self.stack)  # parameter paths "layers/…" and "norm", without a level for `stack`

    @checked
    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "#B T S"],
        positions: Int[Array, " T"],
        cache: StackCache | None = None,
        cache_index: Int[Array, ""] | int | None = None,
    ) -> BackboneOutput:
        """See `Backbone.__call__`."""
        return BackboneOutput(*self.stack(x, mask, positions, cache, cache_index))

    def empty_cache(self, batch_size: int, length: int) -> StackCache:
        """See `Backbone.empty_cache`."""
        return self.stack.empty_cache(batch_size, length)

    def unstacked(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """See `Backbone`; one subtree for each layer."""
        return self.stack.unstacked(params)


BACKBONES = Slot(
    "config.model.backbone",
    Backbone,
    ("config",),
    {"transformer": "dualdub_jax.models.backbone:TransformerBackbone"},
)
