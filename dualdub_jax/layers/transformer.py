"""Pre-norm transformer stacks of the Llama and Qwen family, scanned over layers, with remat policies."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from dualdub_jax.config import RopeScalingConfig
from dualdub_jax.errors import UserError
from dualdub_jax.layers.attention import Attention
from dualdub_jax.layers.basic import SwiGLU, rms_norm
from dualdub_jax.layers.kv_cache import KVCache, empty_cache
from dualdub_jax.parallel.sharding import constrain

# Of all layers, stacked on the leading axis; by layer if the parameters are unstacked.
StackCache = KVCache | tuple[KVCache, ...]

# Name in the config -> activations of a layer that are saved for the backward pass besides its input; "none"
# disables remat and saves all. "attention": queries, keys, values, the attention output and the residual
# after it; "mlp": the gate and up projections, several times as large. Unnamed activations (pixel encoder,
# norms) are always recomputed.
_only = jax.checkpoint_policies.save_only_these_names
REMAT_POLICIES: dict[str, Any] = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "attention": _only("attention"),
    "mlp": _only("mlp"),
    "dots": _only("attention", "mlp"),
}


def remat(module: type[nn.Module], policy: str, prevent_cse: bool = True) -> type[nn.Module]:
    """Wraps a module in rematerialisation.

    Args:
        module: a linen class.
        policy: "none", or a key of `REMAT_POLICIES`.
        prevent_cse: prevents common subexpression elimination; not needed inside a scan.

    Raises:
        UserError: there is no policy of that name.
    """
    if policy == "none":
        return module
    if policy not in REMAT_POLICIES:
        known = ", ".join(["none", *REMAT_POLICIES])
        raise UserError(f"model.remat_policy={policy}: no such policy; choose one of {known}")
    return nn.remat(module, prevent_cse=prevent_cse, policy=REMAT_POLICIES[policy])


class Block(nn.Module):
    """A pre-norm layer: attention and SwiGLU with residual connections."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_width: int
    rope_theta: float
    use_qkv_bias: bool
    use_qk_norm: bool
    attention_implementation: str
    dtype: str
    rope_scaling: RopeScalingConfig | None
    norm_epsilon: float

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        positions: jax.Array,
        cache: KVCache | None,
        cache_index: jax.Array | int | None,
    ) -> tuple[jax.Array, KVCache | None]:
        attended, cache = Attention(
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.head_dim,
            rope_theta=self.rope_theta,
            use_qkv_bias=self.use_qkv_bias,
            use_qk_norm=self.use_qk_norm,
            implementation=self.attention_implementation,
            dtype=self.dtype,
            rope_scaling=self.rope_scaling,
            norm_epsilon=self.norm_epsilon,
            name="attention",
        )(
            rms_norm("attention_norm", self.dtype, self.norm_epsilon)(x),
            mask,
            positions=positions,
            cache=cache,
            cache_index=cache_index,
        )
        x = checkpoint_name(x + attended, "attention")
        normed = rms_norm("mlp_norm", self.dtype, self.norm_epsilon)(x)
        x = x + SwiGLU(self.mlp_width, self.dtype, name="mlp")(normed)
        return constrain(x, "batch", "length", "act_embed"), cache


class Transformer(nn.Module):
    """A stack of `Block`s and a final norm; causal, prefix or bidirectional according to the mask.

    `nn.scan` stacks the parameters of all layers on a leading "layers" axis, so compile time does not grow
    with depth. Parameters of `unstacked` are applied layer by layer.
    """

    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_width: int
    rope_theta: float = 10_000.0
    use_qkv_bias: bool = False
    use_qk_norm: bool = False
    remat_policy: str = "none"
    attention_implementation: str = "plain"
    dtype: str = "float32"
    rope_scaling: RopeScalingConfig | None = None
    norm_epsilon: float = 1e-6

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        positions: jax.Array,
        cache: StackCache | None = None,
        cache_index: jax.Array | int | None = None,
    ) -> tuple[jax.Array, StackCache | None]:
        """Runs the stack.

        Args:
            x: float[B, T, D].
            mask: bool[B or 1, T, S], True where a position attends; S = T without a cache.
            positions: int32[T].
            cache: from `empty_cache` or the previous call, or None.
            cache_index: first slot of the cache to write.

        Returns:
            float[B, T, D] and the updated cache.
        """
        sizes = {
            "num_heads": self.num_heads,
            "num_kv_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "mlp_width": self.mlp_width,
            "rope_theta": self.rope_theta,
            "use_qkv_bias": self.use_qkv_bias,
            "use_qk_norm": self.use_qk_norm,
            "attention_implementation": self.attention_implementation,
            "dtype": self.dtype,
            "rope_scaling": self.rope_scaling,
            "norm_epsilon": self.norm_epsilon,
        }
        if self._is_unstacked():
            before, after = cache or [None] * self.num_layers, []
            for name, layer_cache in zip(_layer_names(self.num_layers), before, strict=True):
                x, layer_cache = Block(**sizes, name=name)(x, mask, positions, layer_cache, cache_index)
                after.append(layer_cache)
            cache = None if cache is None else tuple(after)
        else:
            layers = nn.scan(
                remat(Block, self.remat_policy, prevent_cse=False),  # not needed inside a scan
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=(nn.broadcast, nn.broadcast, 0, nn.broadcast),
                out_axes=0,
                length=self.num_layers,
                metadata_params={nn.PARTITION_NAME: "layers"},
            )
            x, cache = layers(**sizes, name="layers")(x, mask, positions, cache, cache_index)
        return rms_norm("norm", self.dtype, self.norm_epsilon)(x), cache

    def empty_cache(self, batch_size: int, length: int) -> StackCache:
        """Zeros for `batch_size` sequences of `length` positions."""
        layers = [
            empty_cache(batch_size, self.num_kv_heads, length, self.head_dim, self.dtype)
            for _ in range(self.num_layers)
        ]
        return tuple(layers) if self._is_unstacked() else jax.tree.map(lambda *x: jnp.stack(x), *layers)

    def unstacked(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters with a subtree for each layer, "layers_0" and so on, in place of "layers".

        A step that decodes one position then reads each layer's parameters and cache where they are. A scan
        copies both in every step on the CPU, which triples the traffic of memory. Source: our choice.
        """
        layers = {
            name: jax.tree.map(lambda x, i=i: x[i], params["layers"])
            for i, name in enumerate(_layer_names(self.num_layers))
        }
        return {name: value for name, value in params.items() if name != "layers"} | layers

    def _is_unstacked(self) -> bool:
        return self.has_variable("params", _layer_names(1)[0])


def _layer_names(num_layers: int) -> list[str]:
    """Subtrees of unstacked parameters."""
    return [f"layers_{i}" for i in range(num_layers)]
