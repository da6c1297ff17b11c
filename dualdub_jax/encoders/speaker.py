"""The speaker encoder kind "attention_pooling"."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from dualdub_jax.config import GridConfig, ModelConfig
from dualdub_jax.encoders.reference_mels import NUM_HEADS, encode_reference
from dualdub_jax.layers.attention import Attention
from dualdub_jax.layers.basic import SwiGLU, dense, learned, rms_norm
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


class AttentionPoolingEncoder(nn.Module):
    """Encodes a reference recording to a fixed number of speaker vectors of the prefix.

    Log-mels, one bidirectional layer, attention pooling by learned queries. Source: the paper encodes a mel
    spectrogram and averages over time to one vector, its encoder unstated; this encoder is our choice.

    Attributes:
        config: of the model.
        grid: the time grid, with the sample rate of references.
    """

    config: ModelConfig
    grid: GridConfig

    @nn.compact
    @checked
    def __call__(
        self, voice: Float[Array, "B S"], voice_mask: Bool[Array, "B R"], has_voice: Bool[Array, " B"]
    ) -> Float[Array, "B vectors D"]:
        """Encodes reference recordings.

        Args:
            voice: float32[B, R * samples_per_frame], samples in [-1, 1] at `grid.sample_rate_hz`.
            voice_mask: bool[B, R], True for grid frames that the recording covers.
            has_voice: bool[B], False without a reference.

        Returns:
            float[B, num_speaker_vectors, D]; learned nulls without a reference.
        """
        config, dtype = self.config, self.config.compute_dtype
        null = learned(self, "null", (config.num_speaker_vectors, config.width), ("positions", "embed"))
        queries = learned(
            self, "queries", (config.num_speaker_vectors, config.speaker_width), ("positions", "embed")
        )
        voice_mask = voice_mask & has_voice[:, None]
        x = encode_reference(config, self.grid, voice, voice_mask, num_layers=1)
        queries = jnp.broadcast_to(queries, (voice.shape[0], *queries.shape)).astype(dtype)
        pooling_mask = jnp.broadcast_to(voice_mask[:, None, :], (*queries.shape[:2], voice_mask.shape[1]))
        pooled, _ = Attention(
            num_heads=NUM_HEADS,
            num_kv_heads=NUM_HEADS,
            head_dim=config.speaker_width // NUM_HEADS,
            dtype=dtype,
            name="pooling",
        )(queries, pooling_mask, context=x)
        pooled = pooled + SwiGLU(2 * config.speaker_width, dtype, name="mlp")(
            rms_norm("mlp_norm", dtype)(pooled)
        )
        vectors = dense(config.width, ("embed", "mlp"), name="out", dtype=dtype)(
            rms_norm("out_norm", dtype)(pooled)
        )
        return jnp.where(has_voice[:, None, None], vectors, null.astype(dtype))
