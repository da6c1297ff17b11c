"""Silent video to one vector a grid frame: pixels, then time in both directions.

Source: our choice, a small trainable encoder in place of the paper's frozen CLIP ("features" takes those).
All work on pixels is matrix products (patches, and merging of neighbours): a CPU is slow at convolutions, and
a TPU loses nothing.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.ad_checkpoint import checkpoint_name

from dualdub_jax.config import ModelConfig, VideoEncoderConfig
from dualdub_jax.encoders.temporal import temporal_stack
from dualdub_jax.layers.basic import dense, rms_norm
from dualdub_jax.layers.transformer import remat
from dualdub_jax.parallel.sharding import num_shares
from dualdub_jax.types import Batch


class PixelEncoder(nn.Module):
    """Each frame on its own but for what changes from the one before it and to the one after it.

    Small patches are merged two by two in both directions, level by level, until a few positions are left.
    """

    config: VideoEncoderConfig
    width: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, video: jax.Array, frame_mask: jax.Array) -> jax.Array:
        """Encodes.

        Args:
            video: uint8[B, T, height, width, 3].
            frame_mask: bool[B, T], True inside the clip: where it begins and ends, nothing changes.

        Returns:
            float[B, T, D].
        """
        config = self.config
        # Cut into patches while a pixel is still one byte: this is a copy of the whole video. What is merged
        # later lies together from here on, so that no level moves anything.
        x = _cut(video, config.patch_size, len(config.merge_widths))
        x = x.astype(self.dtype) / 127.5 - 1.0
        x = dense(3 * config.patch_width, ("patch", "mlp"), name="patch", dtype=self.dtype, use_bias=True)(x)
        here, before, after = jnp.split(_with_gradient_in_rows(x), 3, axis=-1)
        x = here + _change(before, frame_mask, -1) + _change(after, frame_mask, 1)
        x = nn.gelu(checkpoint_name(x, "pixels"))
        for i, width in enumerate(config.merge_widths):
            x = rms_norm(f"norm_{i}", self.dtype)(rearrange(x, "B T (s n) c -> B T s (n c)", n=4))
            x = dense(width, ("embed", "mlp"), name=f"merge_{i}", dtype=self.dtype)(x)
            x = nn.gelu(checkpoint_name(x, "pixels"))
        # Where something is, and that it is anywhere: a flash counts the same in every corner.
        where = rearrange(x, "B T s c -> B T (s c)")
        where = dense(self.width, ("embed", "mlp"), name="where", dtype=self.dtype)(where)
        anywhere = dense(self.width, ("embed", "mlp"), name="anywhere", dtype=self.dtype)(x.max(axis=2))
        return where + anywhere


def _cut(video: jax.Array, patch_size: int, num_levels: int) -> jax.Array:
    """Frames as patches, in squares of 2 x 2, in squares of such squares, and so on.

    Args:
        video: [B, T, height, width, c].
        patch_size: height and width of a patch, pixels.
        num_levels: how often four neighbours are put next to each other.

    Returns:
        [B, T, positions, pixels of a patch]; `num_levels` merges of four neighbours leave rows of positions.
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
    """`x` as it is, float[B, T, s, c]; its gradient is written once, in rows, for its kernel to read.

    It is made of sums of neighbouring frames. XLA's CPU backend would compute them once for the kernel and
    once for the bias, by way of four more arrays. Where the length is split over devices, `x` is left alone.
    """
    if num_shares("length") > 1:
        return x
    return jax.lax.optimization_barrier(rearrange(x, "B T s c -> (B T s) c")).reshape(x.shape)


def _change(x: jax.Array, frame_mask: jax.Array, offset: int) -> jax.Array:
    """A frame's neighbour minus the frame; zero where there is no neighbour: float[B, T, ...] -> the same."""
    neighbour, exists = jnp.roll(x, -offset, axis=1), jnp.roll(frame_mask, -offset, axis=1) & frame_mask
    exists = exists.at[:, 0 if offset < 0 else -1].set(False)
    return jnp.where(exists.reshape(*exists.shape, *(1,) * (x.ndim - 2)), neighbour - x, 0.0)


class PixelVideoEncoder(nn.Module):
    """Pixels, then a bidirectional temporal stack.

    The pixel part has a name of its own ("pixels"), so that a stage can freeze it by path.

    Attributes:
        config: of the model.
    """

    config: ModelConfig
    inputs = ("video",)

    def __call__(self, batch: Batch) -> jax.Array:
        """See `VideoEncoder`; reads `batch.video`, uint8[B, T, height, width, 3]."""
        video, frame_mask, has_video = batch.video, batch.frame_mask, batch.has_video
        if self.is_initializing():
            return self._encode(video, frame_mask, has_video)
        # Films are the most expensive part on a CPU: skipped when no example of the batch has one.
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
        # Activations of the pixel encoder for the backward pass are most of a step's memory, and are written
        # (as zeros) also by a step that skips the films. "none" saves results of its products, and no more.
        if config.remat_policy == "none":
            pixels = nn.remat(PixelEncoder, policy=jax.checkpoint_policies.save_only_these_names("pixels"))
        else:
            pixels = remat(PixelEncoder, config.remat_policy)
        x = pixels(config.video, config.width, config.compute_dtype, name="pixels")(video, frame_mask)
        x = jnp.where((frame_mask & has_video[:, None])[:, :, None], x, 0.0)
        return temporal_stack(config, x, frame_mask)
