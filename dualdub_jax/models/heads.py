"""A decoding head: from the model's state at frame t to the Q codebooks of one stream at frame t."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from dualdub_jax.layers.basic import dense, learned, matrix_product, rms_norm
from dualdub_jax.parallel.sharding import constrain


class DepthHead(nn.Module):
    """Codebook q of a frame is predicted from the state and from codebooks 0..q-1 of the same frame.

    Residual quantisers refine: a later codebook means little without the earlier ones. Source: dual
    decoding heads are the DualDub abstract's; their depth conditioning is our choice.
    """

    num_codebooks: int
    codebook_size: int
    width: int
    dtype: str = "float32"

    def setup(self):
        q, v, w = self.num_codebooks, self.codebook_size, self.width
        self.norm = rms_norm("norm", self.dtype)
        self.project_in = dense(q * w, ("embed", "mlp"), name="project_in", dtype=self.dtype, use_bias=True)
        self.hidden_norm = rms_norm("hidden_norm", self.dtype)
        self.hidden = dense(w, ("embed", "mlp"), name="hidden", dtype=self.dtype)
        self.code_embedding = learned(self, "code_embedding", (q, v, w), ("codebooks", "vocab", "embed"))
        init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", batch_axis=(0,))
        self.out = self.param(
            "out", nn.with_logical_partitioning(init, ("codebooks", "embed", "vocab")), (q, w, v), jnp.float32
        )

    def __call__(self, state: jax.Array, codes: jax.Array) -> jax.Array:
        """Logits of all codebooks with the true codes as history ("teacher forcing").

        Args:
            state: float[B, T, D].
            codes: int32[B, T, Q], the frame's own codes; codebook q sees only codes < q.

        Returns:
            float32[B, T, Q, V].
        """
        x = self.project(state)
        embedded = [self.embed(codes[..., q], q) for q in range(self.num_codebooks - 1)]
        before = itertools.accumulate(embedded, initial=jnp.zeros_like(x[..., 0, :]))
        x = self._refine(x + jnp.stack(list(before), axis=-2))
        # Codebooks first: a batch of matrix products whose rows are whole in memory, before and after.
        x = rearrange(x, "B T Q W -> Q B T W")
        logits = jax.vmap(matrix_product)(x, self.out.astype(self.dtype))
        logits = rearrange(logits, "Q B T V -> B T Q V")
        return constrain(logits.astype(jnp.float32), "batch", "length", None, "act_vocab")

    def project(self, state: jax.Array) -> jax.Array:
        """float[..., D] -> float[..., Q, W]: what each codebook starts from."""
        return rearrange(self.project_in(self.norm(state)), "... (Q W) -> ... Q W", Q=self.num_codebooks)

    def embed(self, codes: jax.Array, codebook: int) -> jax.Array:
        """int32[...] codes of one codebook -> float[..., W], what later codebooks see of them."""
        return jnp.take(self.code_embedding[codebook], codes, axis=0).astype(self.dtype)

    def codebook_logits(self, x: jax.Array, codebook: int) -> jax.Array:
        """float[..., W], start plus embeddings of the codes before -> float32[..., V]."""
        return (self._refine(x) @ self.out[codebook].astype(self.dtype)).astype(jnp.float32)

    def _refine(self, x: jax.Array) -> jax.Array:
        x = nn.gelu(x)
        return x + nn.gelu(self.hidden(self.hidden_norm(x)))
