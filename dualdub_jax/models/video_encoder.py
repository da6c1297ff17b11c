"""Silent video to one vector a grid frame: pixels, then time in both directions.

Source: the DualDub abstract asks for a multimodal encoder; this one is our choice. Work on pixels is
all matrix products (patches, mixing across their positions, one merge), because convolutions are what
a CPU does worst, and matrix products are no loss on a TPU.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from dualdub_jax.config import VideoEncoderConfig
from dualdub_jax.models.layers import dense, rms_norm
from dualdub_jax.models.transformer import Transformer, remat
from dualdub_jax.parallel.sharding import constrain


class PixelEncoder(nn.Module):
    """uint8[B, T, height, width, 3] -> float[B, T, D], each frame on its own but for its motion."""

    config: VideoEncoderConfig
    width: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, video: jax.Array) -> jax.Array:
        config, p = self.config, self.config.patch_size
        rows = video.shape[2] // p
        # Cut into patches while a pixel is still one byte: this is a copy of the whole video.
        x = rearrange(video, "B T (h p) (w q) c -> B T (h w) (p q c)", p=p, q=p)
        x = x.astype(self.dtype) / 127.5 - 1.0
        patch = ("patch", "mlp")
        motion = dense(config.patch_width, patch, name="motion", dtype=self.dtype)(x)
        x = dense(config.patch_width, patch, name="patch", dtype=self.dtype, use_bias=True)(x)
        # The difference to the frame before is taken of products, which are narrower than patches.
        x = x + motion - jnp.concatenate([motion[:, :1], motion[:, :-1]], axis=1)
        x = nn.gelu(x)
        for i in range(config.num_mixers):
            x = _Mixer(self.dtype, name=f"mixer_{i}")(x)
        x = rearrange(x, "B T (h p w q) c -> B T (h w) (p q c)", h=rows // 2, p=2, q=2)
        x = nn.gelu(dense(config.merged_width, ("embed", "mlp"), name="merge", dtype=self.dtype)(x))
        # Where something is, and that it is anywhere: a flash counts the same in every corner.
        where = rearrange(x, "B T s c -> B T (s c)")
        where = dense(self.width, ("embed", "mlp"), name="out", dtype=self.dtype)(where)
        if not config.use_pool:
            return where
        anywhere = dense(self.width, ("embed", "mlp"), name="anywhere", dtype=self.dtype)(x.max(axis=2))
        return where + anywhere


class _Mixer(nn.Module):
    """One block of MLP-Mixer (Tolstikhin et al., 2021): float[B, T, positions, C] -> the same."""

    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        num_positions, channels = x.shape[-2:]
        y = rearrange(rms_norm("position_norm", self.dtype)(x), "B T s c -> B T c s")
        y = nn.gelu(dense(num_positions, ("patch", "mlp"), name="position_in", dtype=self.dtype)(y))
        y = dense(num_positions, ("mlp", "patch"), name="position_out", dtype=self.dtype)(y)
        x = x + rearrange(y, "B T c s -> B T s c")
        y = rms_norm("channel_norm", self.dtype)(x)
        y = nn.gelu(dense(2 * channels, ("embed", "mlp"), name="channel_in", dtype=self.dtype)(y))
        return x + dense(channels, ("mlp", "embed"), name="channel_out", dtype=self.dtype)(y)


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
        # Always computed again in the backward pass: what it would keep is most of a step's memory, and is
        # written (as zeros) also by a step that skips the films.
        pixels = remat(PixelEncoder, "full" if self.remat_policy == "none" else self.remat_policy)
        x = pixels(self.config, self.width, self.dtype, name="pixels")(video)
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
