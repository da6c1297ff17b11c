"""The script aligner: monotonic attention of frames to script tokens.

A backbone of a few million parameters does not learn to align frames with the script in its prefix within a
training run of two CPU cores: it generates plausible words in place of the scripted ones. This branch tracks
one number per clip, the position in the script, which every frame advances and then corrects by attention to
nearby tokens. Where word times are known, it is also trained directly (`alignment_loss` of
curriculum/losses.py).

Source: our choice, after monotonic attention windows (Graves, "Generating Sequences With Recurrent Neural
Networks", 2013) and location-relative attention in speech synthesis (Battenberg et al., 2020); the
content-based correction of the position differs.
"""

from typing import NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from dualdub_jax.layers.basic import dense, rms_norm
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

KEY_WIDTH = 64
NUM_NEIGHBOURS = 2  # context on each side of one layer of the script's encoder, tokens
_MAX_STEP = 2.0  # tokens per frame; at 25 frames per second sufficient for characters
_INITIAL_STEP_LOGIT = -3.0  # about 0.1 tokens per frame, slow speech
_INITIAL_SHARPNESS = 3.0
_VALUE_SCALE = 0.0025  # variance of the values before training, a standard deviation of 0.05


@flax.struct.dataclass
class EncodedScript:
    """A script encoded for the aligner, once per clip.

    Attributes:
        keys: float[B, L, K].
        values: float[B, L, D].
        mask: bool[B, L], True for the script's tokens.
    """

    keys: jax.Array
    values: jax.Array
    mask: jax.Array


class ScriptAlignment(NamedTuple):
    """Alignment of frames with a script.

    Attributes:
        values: float[B, T, D], attended values of each frame.
        positions: float32[B, T], position in the script after each frame, in tokens.
        log_weights: float32[B, T, L], log attention weights of each frame.
    """

    values: jax.Array
    positions: jax.Array
    log_weights: jax.Array


class ScriptAligner(nn.Module):
    """Monotonic attention of frames to the script.

    With p the position after frame t - 1, the attention weight of frame t on token n is

        softmax over n of  q_t . k_n - sharpness_t (sqrt(1 + (n - p - step_t)^2) - 1)

    and p becomes the expected position under these weights. The penalty is quadratic in the distance near p
    and linear far from it, so that the aligner can recover a lost position. Scores of all frames are one
    matrix product; only the softmax over the script runs frame by frame.

    Attributes:
        width: D.
        dtype: compute dtype.
    """

    width: int
    dtype: str = "float32"

    def setup(self):
        self.script_norm = rms_norm("script_norm", self.dtype)
        self.near = dense(self.width, ("embed", "mlp"), name="near", dtype=self.dtype, use_bias=True)
        self.far = dense(self.width, ("embed", "mlp"), name="far", dtype=self.dtype, use_bias=True)
        self.memory_norm = rms_norm("memory_norm", self.dtype)
        self.key = dense(KEY_WIDTH, ("embed", "mlp"), name="key", dtype=self.dtype)
        # Small initial values: as large as usual, they would dominate the embeddings that they are added to.
        self.value = dense(self.width, ("embed", "mlp"), name="value", dtype=self.dtype, scale=_VALUE_SCALE)
        self.norm = rms_norm("norm", self.dtype)
        self.query = dense(KEY_WIDTH, ("embed", "mlp"), name="query", dtype=self.dtype)
        self.motion = dense(2, ("embed", "norm"), name="motion", dtype="float32", use_bias=True, scale=0.1)

    @checked
    def encode(self, script: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> EncodedScript:
        """Encodes a script by two layers with local context.

        Args:
            script: float[B, L, D], embedded tokens.
            mask: bool[B, L], True for tokens of the script.

        Returns:
            Keys, values and mask.
        """
        x = self.script_norm(script) * mask[:, :, None]
        x = x + nn.gelu(self.near(_with_neighbours(x)))
        x = x + nn.gelu(self.far(_with_neighbours(x * mask[:, :, None])))
        # Without the constraint, the gradient of keys and values is wrong on meshes with a tensor axis: one
        # of two partial sums is dropped (jax 0.10.2; covered by tests/multidevice).
        x = constrain(self.memory_norm(x), "batch", None, "act_embed")
        return EncodedScript(self.key(x), self.value(x), mask)

    @checked
    def __call__(
        self, frames: Float[Array, "B T D"], memory: EncodedScript, position: Float[Array, " B"]
    ) -> ScriptAlignment:
        """Aligns frames, starting from a position.

        Args:
            frames: float[B, T, D], the fused sequence; frame t depends on tokens of frames < t.
            memory: from `encode`.
            position: float32[B], position in the script before the first of `frames`, in tokens.

        Returns:
            Values, positions and log weights of the T frames.
        """
        x = self.norm(frames)
        scores = jnp.einsum("btk,blk->btl", self.query(x), memory.keys).astype(jnp.float32)
        scores = jnp.where(memory.mask[:, None, :], scores * KEY_WIDTH**-0.5, -1e9)
        motion = self.motion(x)
        steps = _MAX_STEP * nn.sigmoid(motion[..., 0] + _INITIAL_STEP_LOGIT)
        sharpness = _INITIAL_SHARPNESS * jnp.exp(motion[..., 1])
        # The position is a recurrence over time: every device needs all frames of its clips.
        scores, steps, sharpness = (
            constrain(a, "batch", *[None] * (a.ndim - 1)) for a in (scores, steps, sharpness)
        )
        tokens = jnp.arange(scores.shape[-1], dtype=jnp.float32)

        def frame(position: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple]:
            score, step, sharp = inputs
            distance = tokens - (position + step)[:, None]
            log_weights = nn.log_softmax(score - sharp[:, None] * (jnp.sqrt(1.0 + distance**2) - 1.0))
            position = jnp.exp(log_weights) @ tokens
            return position, (position, log_weights)

        over_time = tuple(jnp.moveaxis(a, 1, 0) for a in (scores, steps, sharpness))
        _, (positions, log_weights) = jax.lax.scan(frame, position, over_time)
        positions, log_weights = jnp.moveaxis(positions, 0, 1), jnp.moveaxis(log_weights, 0, 1)
        values = jnp.einsum("btl,bld->btd", jnp.exp(log_weights).astype(self.dtype), memory.values)
        return ScriptAlignment(constrain(values, "batch", "length", "act_embed"), positions, log_weights)


def _with_neighbours(x: jax.Array) -> jax.Array:
    """Concatenates each token with n neighbours per side: float[B, L, D] -> float[B, L, (2 n + 1) D]."""
    n, length = NUM_NEIGHBOURS, x.shape[1]
    padded = jnp.pad(x, ((0, 0), (n, n), (0, 0)))
    return jnp.concatenate([padded[:, i : i + length] for i in range(2 * n + 1)], axis=-1)
