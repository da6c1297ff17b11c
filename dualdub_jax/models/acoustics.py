"""The room that both streams are in: how long it rings and how loud its noise is.

Two tracks that are made at once sound as one recording only if they agree on the room. A stream can hear it
in the other's past, through the mutual aligner; but a reverberation is worth few nats a clip, and a small
model does not learn it that way: before, reverberation agreed by .22 (docs/model_card.md of commit 36c4192).
So the room is a condition of both streams: told by the user, or drawn once a film from what the video tells
of it. Where it is not known in training, a learned null stands for it. Source: our choice.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dualdub_jax.dsp.acoustics import bin_weights
from dualdub_jax.layers.basic import learned

_OUT_SCALE = 0.02


class AcousticsEncoder(nn.Module):
    """A room to a vector that is added to every frame of both streams."""

    num_bins: int
    width: int
    dtype: str = "float32"

    def setup(self):
        self.embedding = learned(
            self, "embedding", (2, self.num_bins, self.width), ("codebooks", "positions", "embed")
        )
        self.null = learned(self, "null", (self.width,), ("embed",))

    def __call__(self, acoustics: jax.Array, has_acoustics: jax.Array) -> jax.Array:
        """Encodes.

        Args:
            acoustics: float32[B, 2], RT60 in seconds and noise in dBFS.
            has_acoustics: bool[B].

        Returns:
            float[B, D].
        """
        weights = bin_weights(jnp.where(has_acoustics[:, None], acoustics, 1.0), self.num_bins)
        vector = jnp.einsum("bkv,kvd->bd", weights, self.embedding)
        return jnp.where(has_acoustics[:, None], vector, self.null).astype(self.dtype)


class AcousticsHead(nn.Module):
    """What the video tells of the room: logits of each quantity's bins.

    Nothing flows back from it: a room that cannot be seen shall not shape what is seen.
    """

    num_bins: int

    @nn.compact
    def __call__(self, video: jax.Array, frame_mask: jax.Array) -> jax.Array:
        """Looks.

        Args:
            video: float[B, T, D], the video context.
            frame_mask: bool[B, T], True inside the clip.

        Returns:
            float32[B, 2, V].
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
