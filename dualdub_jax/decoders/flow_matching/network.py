"""The network of the flow: token embedding, and a diffusion transformer that predicts velocities.

| part | parameters |
|---|---|
| `embedding` | `table` [Q, V, E]; `project` [E, D_latent] with `embedding_dim` |
| `time_in`, `time_out` | [256, width], [width, width] |
| `speaker` | [D_speaker, width], of codecs whose tokens carry no speaker identity |
| `latent_in` | [D_latent or twice that, width] |
| `layers` | `modulation` [width, 6 width], `attention`, `mlp`, stacked over layers |
| `modulation_out`, `velocity` | [width, 2 width], [width, D_latent] |

Source: DiT (Peebles and Xie, 2023) with adaLN-zero; rotary positions, SwiGLU and sizes beyond layers, heads
and width are our choice.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from dualdub_jax.decoders.flow_matching.config import FlowMatchingConfig
from dualdub_jax.layers.attention import Attention
from dualdub_jax.layers.basic import SwiGLU, dense
from dualdub_jax.layers.transformer import remat
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

_TIME_FEATURES = 256
_LONGEST_WAVE = 10_000.0
_TIME_SCALE = 1000.0  # of t in [0, 1], as diffusion steps


def time_features(t: jax.Array) -> jax.Array:
    """Sines and cosines of a time, float32[B] in [0, 1] -> float32[B, 256]."""
    half = _TIME_FEATURES // 2
    angles = _TIME_SCALE * t[:, None] * _LONGEST_WAVE ** (-np.arange(half) / half)
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def _zeros(features: int, axes: tuple[str, str], name: str, dtype: str) -> nn.Dense:
    """A linear layer that starts at zero."""
    zeros = nn.initializers.zeros_init()
    return nn.Dense(
        features,
        dtype=dtype,
        kernel_init=nn.with_logical_partitioning(zeros, axes),
        bias_init=nn.with_logical_partitioning(zeros, (axes[1],)),
        name=name,
    )


def _norm(x: jax.Array, dtype: str) -> jax.Array:
    """Layer normalisation without scale and bias, computed in float32."""
    x = x.astype(jnp.float32)
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    return (x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)).astype(dtype)


def _modulated(x: jax.Array, shift: jax.Array, scale: jax.Array, dtype: str) -> jax.Array:
    return _norm(x, dtype) * (1.0 + scale[:, None]) + shift[:, None]


class TokenEmbedding(nn.Module):
    """Embeds the tokens of a frame: the sum over its codebooks.

    Attributes:
        num_codebooks: Q.
        codebook_size: V.
        latent_dim: of the result.
        dim: of the tables; 0: `latent_dim`, without a projection.
    """

    num_codebooks: int
    codebook_size: int
    latent_dim: int
    dim: int = 0

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """int32[B, T, Q] -> float32[B, T, latent_dim], of unit variance before training."""
        init = nn.initializers.normal(self.num_codebooks**-0.5)
        init = nn.with_logical_partitioning(init, ("codebooks", "vocab", "patch"))
        shape = (self.num_codebooks, self.codebook_size, self.dim or self.latent_dim)
        table = self.param("table", init, shape, jnp.float32)
        embedded = sum(table[q][tokens[..., q]] for q in range(self.num_codebooks))
        if not self.dim:
            return embedded
        return dense(self.latent_dim, ("patch", "patch"), name="project", dtype="float32")(embedded)


class DiTBlock(nn.Module):
    """Attention and SwiGLU, each with a shift, scale and gate that the condition sets.

    Attributes:
        config: sizes.
        attention_implementation: see layers/attention.py.
    """

    config: FlowMatchingConfig
    attention_implementation: str

    @nn.compact
    def __call__(
        self, x: jax.Array, condition: jax.Array, mask: jax.Array, positions: jax.Array
    ) -> tuple[jax.Array, None]:
        """float[B, L, width], float[B, width], bool[B, L, L], int32[L] -> float[B, L, width]."""
        config = self.config
        dtype = config.compute_dtype
        modulation = _zeros(6 * config.width, ("embed", "norm"), "modulation", dtype)(condition)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = jnp.split(modulation, 6, axis=-1)
        attended, _ = Attention(
            num_heads=config.num_heads,
            num_kv_heads=config.num_heads,
            head_dim=config.width // config.num_heads,
            rope_theta=config.rope_theta,
            implementation=self.attention_implementation,
            dtype=dtype,
            name="attention",
        )(_modulated(x, shift, scale, dtype), mask, positions=positions)
        x = x + gate[:, None] * attended
        hidden = SwiGLU(config.mlp_width, dtype, name="mlp")(_modulated(x, mlp_shift, mlp_scale, dtype))
        x = x + mlp_gate[:, None] * hidden
        return constrain(x, "batch", "length", "act_embed"), None


class FlowNetwork(nn.Module):
    """Token embedding and velocity.

    Attributes:
        config: sizes.
        num_codebooks: Q of the codec at its own rate.
        codebook_size: V.
        latent_dim: of the target.
        attention_implementation: see layers/attention.py.
    """

    config: FlowMatchingConfig
    num_codebooks: int
    codebook_size: int
    latent_dim: int
    attention_implementation: str = "auto"

    def setup(self) -> None:
        config = self.config
        self.embedding = TokenEmbedding(
            self.num_codebooks, self.codebook_size, self.latent_dim, config.embedding_dim
        )
        self.network = Velocity(config, self.latent_dim, self.attention_implementation)

    def embed(self, tokens: jax.Array) -> jax.Array:
        """int32[B, T, Q] -> float32[B, T, latent_dim]."""
        return self.embedding(tokens)

    def velocity(self, *args: jax.Array | None) -> jax.Array:
        """See `Velocity`."""
        return self.network(*args)

    def __call__(self, tokens: jax.Array, speaker: jax.Array | None) -> jax.Array:
        """Velocity at time 0 from the embedding, for initialisation."""
        x = self.embed(tokens)
        mask = jnp.ones(x.shape[:2], bool)
        return self.velocity(x, jnp.zeros(x.shape[0]), mask, x, speaker)


class Velocity(nn.Module):
    """The diffusion transformer.

    Attributes:
        config: sizes.
        latent_dim: of its input and output.
        attention_implementation: see layers/attention.py.
    """

    config: FlowMatchingConfig
    latent_dim: int
    attention_implementation: str

    @nn.compact
    @checked
    def __call__(
        self,
        x: Float[Array, "B L D"],
        t: Float[Array, " B"],
        mask: Bool[Array, "B L"],
        embedded: Float[Array, "B L D"],
        speaker: Float[Array, "B D_speaker"] | None = None,
    ) -> Float[Array, "B L D"]:
        """Predicts velocities.

        Args:
            x: float32[B, L, D], latents on the path, standardised.
            t: float32[B], their time in [0, 1].
            mask: bool[B, L], True for latents inside of the track; others are not attended to.
            embedded: float32[B, L, D], the tokens' embedding, read where it is a condition.
            speaker: float32[B, D_speaker], of codecs that have one.

        Returns:
            float32[B, L, D]; undefined outside the mask.
        """
        config = self.config
        dtype = config.compute_dtype
        h = dense(config.width, ("patch", "embed"), name="time_in", dtype=dtype, use_bias=True)(
            time_features(t)
        )
        h = dense(config.width, ("embed", "norm"), name="time_out", dtype=dtype, use_bias=True)(nn.silu(h))
        if speaker is not None:
            h = h + dense(config.width, ("patch", "embed"), name="speaker", dtype=dtype)(speaker)
        condition = nn.silu(h)
        if config.condition == "add":
            x = x + embedded
        elif config.condition == "concatenate":
            x = jnp.concatenate([x, embedded], axis=-1)
        x = jnp.where(mask[..., None], x, 0.0)
        x = dense(config.width, ("patch", "embed"), name="latent_in", dtype=dtype, use_bias=True)(x)
        layers = nn.scan(
            remat(DiTBlock, config.remat_policy, prevent_cse=False),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, nn.broadcast, nn.broadcast),
            length=config.num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(config, self.attention_implementation, name="layers")
        attends = jnp.broadcast_to(mask[:, None, :], (*mask.shape, mask.shape[1]))
        x, _ = layers(x, condition, attends, jnp.arange(mask.shape[1]))
        modulation = _zeros(2 * config.width, ("embed", "norm"), "modulation_out", dtype)(condition)
        shift, scale = jnp.split(modulation, 2, axis=-1)
        x = _modulated(x, shift, scale, dtype)
        return _zeros(self.latent_dim, ("embed", "patch"), "velocity", dtype)(x).astype(jnp.float32)
