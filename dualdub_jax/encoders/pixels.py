"""The video encoder kind "pixels": a trainable encoder of RGB frames, then a bidirectional temporal stack.

Source: our choice, in place of the paper's frozen CLIP (kind "features"). All pixel operations are matrix
products (patch embedding and merging), because convolutions are slow on CPUs.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Bool, Float, UInt8

from dualdub_jax.config import ModelConfig, VideoEncoderConfig
from dualdub_jax.encoders.temporal import temporal_stack
from dualdub_jax.layers.basic import dense, rms_norm
from dualdub_jax.layers.transformer import remat
from dualdub_jax.parallel.sharding import num_shares
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array, Batch


class PixelEncoder(nn.Module):
    """Encodes each frame and its differences to the previous and the next frame.

    Patches are merged 2 x 2, level by level, until a few positions remain.
    """

    config: VideoEncoderConfig
    width: int
    dtype: str = "float32"

    @nn.compact
    @checked
    def __call__(
        self, video: UInt8[Array, "B T height width 3"], frame_mask: Bool[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        """Encodes frames.

        Args:
            video: uint8[B, T, height, width, 3].
            frame_mask: bool[B, T], True inside the clip; differences across its ends are zero.

        Returns:
            float[B, T, D].
        """
        config = self.config
        # Patches are rearranged while a pixel is one byte, because this copies the whole video. Patches that
        # will be merged become adjacent, so that no level transposes.
        x = _patches(video, config.patch_size, len(config.merge_widths))
        x = x.astype(self.dtype) / 127.5 - 1.0
        x = dense(3 * config.patch_width, ("patch", "mlp"), name="patch", dtype=self.dtype, use_bias=True)(x)
        frame, previous, following = jnp.split(_with_gradient_in_rows(x), 3, axis=-1)
        x = frame + _difference(previous, frame_mask, -1) + _difference(following, frame_mask, 1)
        x = nn.gelu(checkpoint_name(x, "pixels"))
        for i, width in enumerate(config.merge_widths):
            x = rms_norm(f"norm_{i}", self.dtype)(rearrange(x, "B T (s n) c -> B T s (n c)", n=4))
            x = dense(width, ("embed", "mlp"), name=f"merge_{i}", dtype=self.dtype)(x)
            x = nn.gelu(checkpoint_name(x, "pixels"))
        # A projection of all positions, and a max pool over them for position-independent events.
        positions = rearrange(x, "B T s c -> B T (s c)")
        positions = dense(self.width, ("embed", "mlp"), name="where", dtype=self.dtype)(positions)
        pooled = dense(self.width, ("embed", "mlp"), name="anywhere", dtype=self.dtype)(x.max(axis=2))
        return positions + pooled


def _patches(video: jax.Array, patch_size: int, num_levels: int) -> jax.Array:
    """Splits frames into patches, ordered so that the four patches of each merge are adjacent at every level.

    Args:
        video: uint8[B, T, height, width, c].
        patch_size: height and width of a patch, pixels.
        num_levels: number of merges.

    Returns:
        uint8[B, T, positions, patch_size**2 * c]; in row-major order after `num_levels` merges.
    """
    rows, columns = ([f"{side}{i}" for i in range(num_levels)] for side in "rc")
    squares = " ".join(f"{row} {column}" for row, column in zip(rows, columns, strict=True))
    return rearrange(
        video,
        f"B T (h {' '.join(rows)} p) (w {' '.join(columns)} q) c -> B T (h w {squares}) (p q c)",
        p=patch_size,
        q=patch_size,
        **dict.fromkeys([*rows, *columns], 2),
    )


def _with_gradient_in_rows(x: jax.Array) -> jax.Array:
    """The identity on float[B, T, s, c]; materialises the gradient once, as a matrix of rows.

    The gradient is a sum over neighbouring frames. XLA's CPU backend would compute it once for the kernel and
    once for the bias, through four intermediate arrays. A no-op where the length is sharded.
    """
    if num_shares("length") > 1:
        return x
    return jax.lax.optimization_barrier(rearrange(x, "B T s c -> (B T s) c")).reshape(x.shape)


def _difference(x: jax.Array, frame_mask: jax.Array, offset: int) -> jax.Array:
    """Frame t + offset minus frame t, zero across the clip's ends: float[B, T, ...] -> float[B, T, ...]."""
    neighbour, exists = jnp.roll(x, -offset, axis=1), jnp.roll(frame_mask, -offset, axis=1) & frame_mask
    exists = exists.at[:, 0 if offset < 0 else -1].set(False)
    return jnp.where(exists.reshape(*exists.shape, *(1,) * (x.ndim - 2)), neighbour - x, 0.0)


class PixelVideoEncoder(nn.Module):
    """A `PixelEncoder`, then a bidirectional temporal stack.

    The pixel encoder is a submodule of its own ("pixels"), so that a stage can freeze it by path.

    Attributes:
        config: of the model.
    """

    config: ModelConfig
    inputs = ("video",)

    @checked
    def __call__(self, batch: Batch) -> Float[Array, "B T D"]:
        """See `VideoEncoder`; reads `batch.video`, uint8[B, T, height, width, 3]."""
        video, frame_mask, has_video = batch.video, batch.frame_mask, batch.has_video
        if self.is_initializing():
            return self._encode(video, frame_mask, has_video)
        # Skipped if no example of the batch has a video: on CPUs this is the most expensive part.
        shape = (*video.shape[:2], self.config.width)
        return nn.cond(
            has_video.any(),
            lambda m, *inputs: m._encode(*inputs),
            lambda m, *inputs: jnp.zeros(shape, self.config.compute_dtype),
            self,
            video,
            frame_mask,
            has_video,
        )

    @nn.compact
    def _encode(self, video: jax.Array, frame_mask: jax.Array, has_video: jax.Array) -> jax.Array:
        config = self.config
        # Saved activations of the pixel encoder dominate a step's memory, and are written (as zeros) by steps
        # that skip it, too. Policy "none" therefore saves only the outputs of its matrix products.
        if config.remat_policy == "none":
            pixels = nn.remat(PixelEncoder, policy=jax.checkpoint_policies.save_only_these_names("pixels"))
        else:
            pixels = remat(PixelEncoder, config.remat_policy)
        x = pixels(config.video, config.width, config.compute_dtype, name="pixels")(video, frame_mask)
        x = jnp.where((frame_mask & has_video[:, None])[:, :, None], x, 0.0)
        return temporal_stack(config, x, frame_mask)
