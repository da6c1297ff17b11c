"""The bidirectional temporal stack of the video encoders."""

import jax
import jax.numpy as jnp

from dualdub_jax.config import ModelConfig
from dualdub_jax.layers.transformer import Transformer
from dualdub_jax.parallel.sharding import constrain


def temporal_stack(config: ModelConfig, x: jax.Array, frame_mask: jax.Array) -> jax.Array:
    """Applies `config.video.num_layers` bidirectional transformer layers, as submodule "temporal".

    Args:
        config: of the model.
        x: float[B, T, D].
        frame_mask: bool[B, T], True inside the clip.

    Returns:
        float[B, T, D]; `x` for 0 layers.
    """
    x = constrain(x, "batch", "length", "act_embed")
    if not config.video.num_layers:
        return x
    mask = jnp.broadcast_to(frame_mask[:, None, :], (*frame_mask.shape, frame_mask.shape[1]))
    stack = Transformer(
        num_layers=config.video.num_layers,
        num_heads=config.num_heads,
        num_kv_heads=config.num_heads,
        head_dim=config.head_dim,
        mlp_width=config.mlp_width,
        remat_policy=config.remat_policy,
        attention_implementation=config.attention_implementation,
        dtype=config.compute_dtype,
        name="temporal",
    )
    return stack(x, mask, jnp.arange(frame_mask.shape[1]))[0]
