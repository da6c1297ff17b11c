"""The script encoder kind "embedding"."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from dualdub_jax.config import ModelConfig
from dualdub_jax.layers.basic import learned
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


class TokenEmbedding(nn.Module):
    """A token embedding; the script is encoded by the backbone, as a bidirectional prefix.

    An unknown script is one learned null vector; it differs from a script known to be empty (begin and end
    markers only). Source: the paper embeds BPE tokens; bidirectional attention and the null are our choice.

    Attributes:
        config: of the model.
    """

    config: ModelConfig

    @nn.compact
    @checked
    def __call__(
        self, tokens: Int[Array, "B L"], mask: Bool[Array, "B L"], has_script: Bool[Array, " B"]
    ) -> tuple[Float[Array, "B L D"], Bool[Array, "B L"]]:
        """Embeds scripts.

        Args:
            tokens: int32[B, L].
            mask: bool[B, L], True for tokens of the script.
            has_script: bool[B], False where the script is unknown.

        Returns:
            Vectors float[B, L, D] and their mask bool[B, L], True where valid.
        """
        table = learned(
            self, "embedding", (self.config.script_vocab_size, self.config.width), ("vocab", "embed")
        )
        null = learned(self, "null", (self.config.width,), ("embed",))
        mask = mask & has_script[:, None]
        is_first = jnp.arange(tokens.shape[1]) == 0
        is_null = ~has_script[:, None] & is_first  # the null takes the first position
        x = jnp.take(table, jnp.where(mask, tokens, 0), axis=0)
        # Each device looks up its shard of the table's columns, and rows are exchanged. Without the
        # constraint, the compiler gathers the gradients of the whole batch on every device.
        x = constrain(x, "lookup_batch", None, "embed")
        x = constrain(x, "batch", None, "act_embed")
        x = jnp.where(is_null[:, :, None], null, x)
        mask = mask | is_null
        return jnp.where(mask[:, :, None], x, 0.0).astype(self.config.compute_dtype), mask
