"""Decoding heads: predict the Q codebooks of one stream at frame t from the hidden state at frame t."""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Float, Int

from dualdub_jax.config import ModelConfig
from dualdub_jax.layers.basic import dense, learned, matrix_product, rms_norm
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.parts.shapes import checked
from dualdub_jax.parts.slot import Slot
from dualdub_jax.types import Array


class Head(Protocol):
    """A linen module with these fields; selected by `config.streams.<stream>.head`.

    A frame is sampled by `begin`, then `next_logits`, sampling and `observe` for each codebook.

    Optional: `unstacked(params) -> params`, the module's parameters in a second layout that it accepts as
    well, see models/decoding_params.py.
    """

    config: ModelConfig
    num_codebooks: int
    codebook_size: int

    def __call__(self, state: Float[Array, "B T D"], codes: Int[Array, "B T Q"]) -> Float[Array, "B T Q V"]:
        """Logits of all codebooks under teacher forcing.

        Args:
            state: float[B, T, D], hidden states of the backbone.
            codes: int32[B, T, Q], target codes; logits of codebook q may depend on codebooks < q only.

        Returns:
            float32[B, T, Q, V].
        """
        ...

    def begin(self, state: Float[Array, "B D"]) -> Any:
        """Starts a frame: hidden state float[B, D] -> a pytree that the methods below carry."""
        ...

    def next_logits(self, carry: Any, codebook: int) -> Float[Array, "B V"]:
        """Logits of a codebook given the observed ones, float32[B, V]."""
        ...

    def observe(self, carry: Any, codes: Int[Array, " B"], codebook: int) -> Any:
        """Updates the carry with sampled codes int32[B] of a codebook."""
        ...


class DepthCarry(NamedTuple):
    """Carry of a `DepthHead`.

    Attributes:
        inputs: float[B, Q, W], input of each codebook.
        history: float[B, W], summed embeddings of the observed codes.
    """

    inputs: jax.Array
    history: jax.Array


class DepthHead(nn.Module):
    """Predicts codebook q of a frame from the hidden state and codebooks 0..q-1 of the same frame.

    Codes of a residual quantiser are meaningful only given the previous codebooks. With one codebook, this is
    a language model head. Source: one head per stream is the paper's; depth conditioning is our choice.

    Attributes:
        config: of the model.
        num_codebooks: Q.
        codebook_size: V.
    """

    config: ModelConfig
    num_codebooks: int
    codebook_size: int

    def setup(self):
        q, v, w = self.num_codebooks, self.codebook_size, self.config.head_width
        self.dtype = self.config.compute_dtype
        self.norm = rms_norm("norm", self.dtype)
        self.project_in = dense(q * w, ("embed", "mlp"), name="project_in", dtype=self.dtype, use_bias=True)
        self.hidden_norm = rms_norm("hidden_norm", self.dtype)
        self.hidden = dense(w, ("embed", "mlp"), name="hidden", dtype=self.dtype)
        self.code_embedding = learned(self, "code_embedding", (q, v, w), ("codebooks", "vocab", "embed"))
        if self.has_variable("params", "out_0"):
            self.out = tuple(self.get_variable("params", f"out_{i}") for i in range(q))
            return
        init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", batch_axis=(0,))
        self.out = self.param(
            "out", nn.with_logical_partitioning(init, ("codebooks", "embed", "vocab")), (q, w, v), jnp.float32
        )

    @checked
    def __call__(self, state: Float[Array, "B T D"], codes: Int[Array, "B T Q"]) -> Float[Array, "B T Q V"]:
        """See `Head.__call__`."""
        x = self._project(state)
        embedded = [self._embed(codes[..., q], q) for q in range(self.num_codebooks - 1)]
        before = itertools.accumulate(embedded, initial=jnp.zeros_like(x[..., 0, :]))
        x = self._refine(x + jnp.stack(list(before), axis=-2))
        # Codebooks lead: a batch of matrix products with contiguous rows.
        x = rearrange(x, "B T Q W -> Q B T W")
        logits = jax.vmap(matrix_product)(x, jnp.asarray(self.out, self.dtype))
        logits = rearrange(logits, "Q B T V -> B T Q V")
        return constrain(logits.astype(jnp.float32), "batch", "length", None, "act_vocab")

    @checked
    def begin(self, state: Float[Array, "B D"]) -> DepthCarry:
        """See `Head.begin`."""
        inputs = self._project(state)
        return DepthCarry(inputs, jnp.zeros_like(inputs[:, 0]))

    @checked
    def next_logits(self, carry: DepthCarry, codebook: int) -> Float[Array, "B V"]:
        """See `Head.next_logits`."""
        x = self._refine(carry.inputs[:, codebook] + carry.history)
        return (x @ self.out[codebook].astype(self.dtype)).astype(jnp.float32)

    @checked
    def observe(self, carry: DepthCarry, codes: Int[Array, " B"], codebook: int) -> DepthCarry:
        """See `Head.observe`."""
        return carry._replace(history=carry.history + self._embed(codes, codebook))

    def unstacked(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """See `Head`; in place of "out" there is an array for each codebook, "out_0" and so on."""
        matrices = {f"out_{q}": params["out"][q] for q in range(self.num_codebooks)}
        return {name: value for name, value in params.items() if name != "out"} | matrices

    def _project(self, state: jax.Array) -> jax.Array:
        """Input of each codebook, float[..., D] -> float[..., Q, W]."""
        return rearrange(self.project_in(self.norm(state)), "... (Q W) -> ... Q W", Q=self.num_codebooks)

    def _embed(self, codes: jax.Array, codebook: int) -> jax.Array:
        """Embeds codes of one codebook, int32[...] -> float[..., W]."""
        return jnp.take(self.code_embedding[codebook], codes, axis=0).astype(self.dtype)

    def _refine(self, x: jax.Array) -> jax.Array:
        x = nn.gelu(x)
        return x + nn.gelu(self.hidden(self.hidden_norm(x)))


class LinearHead(nn.Module):
    """One linear layer: the head of a language model, for one codebook.

    Codebooks are predicted independently of each other; `DepthHead` suits several. Source: the paper's heads,
    one for each stream, both of which read the same hidden state. The backbone ends in a norm.

    Attributes:
        config: of the model.
        num_codebooks: Q.
        codebook_size: V.
    """

    config: ModelConfig
    num_codebooks: int
    codebook_size: int

    def setup(self):
        num_logits = self.num_codebooks * self.codebook_size
        self.out = dense(num_logits, ("embed", "vocab"), name="out", dtype=self.config.compute_dtype)

    @checked
    def __call__(self, state: Float[Array, "B T D"], codes: Int[Array, "B T Q"]) -> Float[Array, "B T Q V"]:
        """See `Head.__call__`."""
        del codes
        logits = rearrange(self.out(state), "B T (Q V) -> B T Q V", Q=self.num_codebooks)
        return constrain(logits.astype(jnp.float32), "batch", "length", None, "act_vocab")

    @checked
    def begin(self, state: Float[Array, "B D"]) -> Float[Array, "B Q V"]:
        """See `Head.begin`; the carry is the logits."""
        return rearrange(self.out(state), "B (Q V) -> B Q V", Q=self.num_codebooks).astype(jnp.float32)

    @checked
    def next_logits(self, carry: Float[Array, "B Q V"], codebook: int) -> Float[Array, "B V"]:
        """See `Head.next_logits`."""
        return carry[:, codebook]

    @checked
    def observe(
        self, carry: Float[Array, "B Q V"], codes: Int[Array, " B"], codebook: int
    ) -> Float[Array, "B Q V"]:
        """See `Head.observe`; the carry does not change."""
        del codes, codebook
        return carry


HEADS = Slot(
    "config.streams.<stream>.head",
    Head,
    ("config", "num_codebooks", "codebook_size"),
    {
        "depth": "dualdub_jax.models.heads:DepthHead",
        "linear": "dualdub_jax.models.heads:LinearHead",
    },
)
