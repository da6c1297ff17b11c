"""Embedding of one stream's past tokens, the input of the aligner."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from dualdub_jax.layers.basic import learned
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


class StreamEmbedding(nn.Module):
    """Sums the embeddings of a frame's codebooks; learned vectors replace the first frame and masked frames.

    Source: the paper has one embedding table per stream; summation over codebooks is our choice.

    Attributes:
        num_codebooks: Q.
        codebook_size: V.
        width: D.
        dtype: compute dtype.
    """

    num_codebooks: int
    codebook_size: int
    width: int
    dtype: str = "float32"

    def setup(self):
        shape = (self.num_codebooks, self.codebook_size, self.width)
        self.embedding = learned(self, "embedding", shape, ("codebooks", "vocab", "embed"))
        self.begin = learned(self, "begin", (self.width,), ("embed",))
        self.null = learned(self, "null", (self.width,), ("embed",))

    @checked
    def __call__(
        self,
        codes: Int[Array, "B T Q"],
        is_first: Bool[Array, " T"],
        is_present: Bool[Array, " B"],
        is_known: Bool[Array, "B T"] | None = None,
    ) -> Float[Array, "B T D"]:
        """Embeds codes.

        Args:
            codes: int32[B, T, Q], codes of frame t - 1 at position t.
            is_first: bool[T], True at the clip's first frame, whose codes are ignored.
            is_present: bool[B], False where the stream is absent.
            is_known: bool[B, T], False where codes are masked; None: none are.

        Returns:
            float[B, T, D].
        """
        codes = jnp.where(is_present[:, None, None] & ~is_first[None, :, None], codes, 0)
        x = sum(jnp.take(self.embedding[q], codes[..., q], axis=0) for q in range(self.num_codebooks))
        x = jnp.where(is_first[None, :, None], self.begin, x)
        if is_known is not None:
            x = jnp.where(is_known[:, :, None], x, self.null)
        return jnp.where(is_present[:, None, None], x, self.null).astype(self.dtype)
