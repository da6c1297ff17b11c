"""Script tokens to prefix vectors of the language model."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dualdub_jax.config import ModelConfig
from dualdub_jax.layers.basic import learned
from dualdub_jax.parallel.sharding import constrain


class TokenEmbedding(nn.Module):
    """A token embedding; the backbone itself reads the script, as its bidirectional prefix.

    An unknown script is one learned null vector, which is not the same as a script known to be empty
    (begin and end markers with nothing between). Source: our choice.
    """

    config: ModelConfig

    @nn.compact
    def __call__(
        self, tokens: jax.Array, mask: jax.Array, has_script: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Embeds scripts.

        Args:
            tokens: int32[B, L].
            mask: bool[B, L], True for tokens of the script.
            has_script: bool[B].

        Returns:
            float[B, L, D] and bool[B, L], True where the prefix is valid.
        """
        table = learned(
            self, "embedding", (self.config.script_vocab_size, self.config.width), ("vocab", "embed")
        )
        null = learned(self, "null", (self.config.width,), ("embed",))
        mask = mask & has_script[:, None]
        is_null = ~has_script[:, None] & (jnp.arange(tokens.shape[1]) == 0)  # the first slot holds the null
        x = jnp.take(table, jnp.where(mask, tokens, 0), axis=0)
        # Columns of the table are looked up where they are, and rows move. Left to itself, the compiler has
        # every device gather the gradients of all clips of all devices.
        x = constrain(x, "lookup_batch", None, "embed")
        x = constrain(x, "batch", None, "act_embed")
        x = jnp.where(is_null[:, :, None], null, x)
        mask = mask | is_null
        return jnp.where(mask[:, :, None], x, 0.0).astype(self.config.compute_dtype), mask
