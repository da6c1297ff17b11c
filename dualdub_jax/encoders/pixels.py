"""Silent video to one vector a grid frame: pixels, then time in both directions.

Source: the DualDub abstract asks for a multimodal encoder; this one is our choice. Work on pixels is
all matrix products (patches, and merging neighbours), because convolutions are what
a CPU does worst, and matrix products are no loss on a TPU.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.ad_checkpoint import checkpoint_name

from dualdub_jax.config import VideoEncoderConfig
from dualdub_jax.layers.basic import dense, rms_norm
from dualdub_jax.layers.transformer import Transformer, remat
from dualdub_jax.parallel.sharding import constrain, num_shares


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


class VideoEncoder(nn.Module):
    """Pixels, then a bidirectional temporal stack.

    The pixel part has a name of its own ("pixels"), so that a stage can freeze it by path.
    """

    config: VideoEncoderConfig
    width: int
    num_heads: int
    head_dim: int
    mlp_width: int
    remat_policy: str = "none"
    attention_implementation: str = "plain"
    dtype: str = "float32"

    def __call__(self, video: jax.Array, frame_mask: jax.Array, has_video: jax.Array) -> jax.Array:
        """Encodes a batch of films.

        Args:
            video: uint8[B, T, height, width, 3].
            frame_mask: bool[B, T], True inside the clip.
            has_video: bool[B].

        Returns:
            float[B, T, D]; frames outside the clip hold no information of the clip, and clips without a
            video hold nothing: the aligner puts its null there.
        """
        if self.is_initializing():
            return self._encode(video, frame_mask, has_video)
        # Films are the most expensive part on a CPU: skipped when no example of the batch has one.
        shape = (*video.shape[:2], self.width)
        return nn.cond(
            has_video.any(),
            lambda m, *inputs: m._encode(*inputs),
            lambda m, *inputs: jnp.zeros(shape, self.dtype),
            self,
            video,
            frame_mask,
            has_video,
        )

    @nn.compact
    def _encode(self, video: jax.Array, frame_mask: jax.Array, has_video: jax.Array) -> jax.Array:
        # What the pixel encoder would keep for the backward pass is most of a step's memory, and is written
        # (as zeros) also by a step that skips the films. "none" keeps results of its products, and no more.
        if self.remat_policy == "none":
            pixels = nn.remat(PixelEncoder, policy=jax.checkpoint_policies.save_only_these_names("pixels"))
        else:
            pixels = remat(PixelEncoder, self.remat_policy)
        x = pixels(self.config, self.width, self.dtype, name="pixels")(video, frame_mask)
        x = jnp.where((frame_mask & has_video[:, None])[:, :, None], x, 0.0)
        x = constrain(x, "batch", "length", "act_embed")
        mask = jnp.broadcast_to(frame_mask[:, None, :], (*frame_mask.shape, frame_mask.shape[1]))
        x, _ = Transformer(
            num_layers=self.config.num_layers,
            num_heads=self.num_heads,
            num_kv_heads=self.num_heads,
            head_dim=self.head_dim,
            mlp_width=self.mlp_width,
            remat_policy=self.remat_policy,
            attention_implementation=self.attention_implementation,
            dtype=self.dtype,
            name="temporal",
        )(x, mask, jnp.arange(frame_mask.shape[1]))
        return x
