"""The video encoder kind "features": projects precomputed features, then a bidirectional temporal stack."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from dualdub_jax.config import ModelConfig
from dualdub_jax.encoders.temporal import temporal_stack
from dualdub_jax.layers.basic import dense, rms_norm
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array, Batch


class FeatureVideoEncoder(nn.Module):
    """Projects frozen features of dimension `config.video.feature_dim`, such as CLIP's, to the model's width.

    Features are on the grid, resampled by nearest neighbour. With `config.video.num_layers` 0 there is no
    temporal stack. Source: the paper (section on the multimodal encoder) uses frozen CLIP features, resampled
    to the token rate by nearest neighbour; projection, norm and temporal layers are our choice.

    Attributes:
        config: of the model.
    """

    config: ModelConfig
    inputs = ("video_features",)

    @nn.compact
    @checked
    def __call__(self, batch: Batch) -> Float[Array, "B T D"]:
        """See `VideoEncoder`; reads `batch.video_features`, float32[B, T, D_video]."""
        dtype = self.config.compute_dtype
        valid = batch.frame_mask & batch.has_video[:, None]
        # Absent features may be NaN.
        x = jnp.where(valid[:, :, None], batch.video_features, 0.0).astype(dtype)
        x = rms_norm("norm", dtype)(x)
        x = dense(self.config.width, ("patch", "embed"), name="project", dtype=dtype, use_bias=True)(x)
        x = jnp.where(valid[:, :, None], x, 0.0)
        return temporal_stack(self.config, x, batch.frame_mask)
