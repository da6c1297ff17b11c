"""The speaker encoder kind "mean_pooling": one vector, the mean over time."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from dualdub_jax.config import GridConfig, ModelConfig
from dualdub_jax.encoders.reference_mels import encode_reference
from dualdub_jax.errors import UserError
from dualdub_jax.layers.basic import dense, rms_norm
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


class MeanPoolingEncoder(nn.Module):
    """Encodes a reference recording to one vector of the prefix.

    Source: the paper encodes a mel spectrogram and averages over time; without a reference its vector is
    zeros. The form of its encoder is unstated; bidirectional transformer layers are our choice.

    Attributes:
        config: of the model; `num_speaker_vectors` is 1.
        grid: the time grid, with the sample rate of references.
        num_layers: of the encoder.
    """

    config: ModelConfig
    grid: GridConfig
    num_layers: int = 2

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
            float[B, 1, D]; zeros without a reference.

        Raises:
            UserError: a config with more than one vector.
        """
        config, dtype = self.config, self.config.compute_dtype
        if config.num_speaker_vectors != 1:
            raise UserError(
                f"config.model.num_speaker_vectors: is {config.num_speaker_vectors}, but the speaker encoder "
                f"{config.speaker_encoder} computes 1; set it to 1"
            )
        voice_mask = voice_mask & has_voice[:, None]
        x = encode_reference(config, self.grid, voice, voice_mask, self.num_layers)
        total = jnp.where(voice_mask[:, :, None], x, 0.0).sum(axis=1, keepdims=True)
        mean = total / jnp.maximum(voice_mask.sum(axis=1), 1).astype(dtype)[:, None, None]
        vector = dense(config.width, ("embed", "mlp"), name="out", dtype=dtype)(
            rms_norm("out_norm", dtype)(mean)
        )
        return jnp.where(has_voice[:, None, None], vector, 0.0)
