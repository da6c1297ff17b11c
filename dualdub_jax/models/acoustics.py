"""Room acoustics (reverberation time, noise floor) as a condition of both streams.

The tracks of one film are coherent only if they share reverberation and noise. The causal aligner lets each
stream attend to the other's past, but acoustics contribute few nats per clip, and a small model does not
learn them that way (correlation .22 of both tracks' reverberation without this condition). Both streams are
therefore conditioned on acoustics, given by the user or sampled once per film from a prediction from video.
Unknown acoustics in training are a learned null. Source: our choice.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dualdub_jax.dsp.acoustics_bins import bin_weights
from dualdub_jax.layers.basic import learned

_OUT_SCALE = 0.02


class AcousticsEncoder(nn.Module):
    """Embeds acoustics to one vector, which the model adds to every frame of its input.

    Attributes:
        num_bins: V, bins of each quantity.
        width: D.
        dtype: compute dtype.
    """

    num_bins: int
    width: int
    dtype: str = "float32"

    def setup(self):
        self.embedding = learned(
            self, "embedding", (2, self.num_bins, self.width), ("codebooks", "positions", "embed")
        )
        self.null = learned(self, "null", (self.width,), ("embed",))

    def __call__(self, acoustics: jax.Array, has_acoustics: jax.Array) -> jax.Array:
        """Embeds acoustics.

        Args:
            acoustics: float32[B, 2], reverberation time in seconds and noise level in dBFS.
            has_acoustics: bool[B], False where unknown.

        Returns:
            float[B, D].
        """
        weights = bin_weights(jnp.where(has_acoustics[:, None], acoustics, 1.0), self.num_bins)
        vector = jnp.einsum("bkv,kvd->bd", weights, self.embedding)
        return jnp.where(has_acoustics[:, None], vector, self.null).astype(self.dtype)


class AcousticsHead(nn.Module):
    """Predicts acoustics from the video context: logits over the bins of each quantity.

    Gradients stop at its input: acoustics that video does not determine must not affect the video encoder.

    Attributes:
        num_bins: V, bins of each quantity.
    """

    num_bins: int

    @nn.compact
    def __call__(self, video: jax.Array, frame_mask: jax.Array) -> jax.Array:
        """Predicts logits from the mean over the clip.

        Args:
            video: float[B, T, D], the video context.
            frame_mask: bool[B, T], True inside the clip.

        Returns:
            float32[B, 2, V], reverberation time and noise level.
        """
        mask = frame_mask[:, :, None]
        video = jax.lax.stop_gradient(jnp.where(mask, video, 0).astype(jnp.float32))
        mean = video.sum(1) / jnp.maximum(mask.sum(1), 1)
        kernel_init = nn.with_logical_partitioning(
            nn.initializers.normal(_OUT_SCALE), ("embed", "codebooks", "positions")
        )
        kernel = self.param("kernel", kernel_init, (video.shape[-1], 2, self.num_bins), jnp.float32)
        bias_init = nn.with_logical_partitioning(nn.initializers.zeros, ("codebooks", "positions"))
        bias = self.param("bias", bias_init, (2, self.num_bins), jnp.float32)
        return jnp.einsum("bd,dkv->bkv", mean, kernel) + bias
