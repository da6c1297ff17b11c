"""Reading: which tokens of the script each frame is about to say.

A backbone of a few million parameters does not find its place in the script within a training that two CPU
cores can do: it learns what speech sounds like and which words are likely, and says another digit than the
one that is written. This branch of the aligner keeps the place instead: one number a clip, the position in
the script, which each frame moves on and then corrects by looking at the tokens around it. Where the times
of the words are known, it is also trained directly (`alignment_loss` of training/losses.py).

Source: our choice, after attention whose place only moves forward (Graves, "Generating Sequences With
Recurrent Neural Networks", 2013) and location-relative attention in speech synthesis (Battenberg et al.,
2020); that what is heard corrects the position is what differs.
"""

from typing import NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from dualdub_jax.layers.basic import dense, rms_norm
from dualdub_jax.parallel.sharding import constrain

KEY_WIDTH = 64
NUM_NEIGHBOURS = 2  # tokens on each side that one layer of the script's encoder sees
_MAX_STEP = 2.0  # tokens a frame: at 25 frames a second enough for a script of characters
_FIRST_STEP_LOGIT = -3.0  # before training about a tenth of a token a frame, a slow word
_FIRST_SHARPNESS = 3.0
_VALUE_SCALE = 0.0025  # variance of what is read before training: 0.05 each


@flax.struct.dataclass
class EncodedScript:
    """A script as the aligner looks at it, made once a clip.

    Attributes:
        keys: float[B, L, K].
        values: float[B, L, D].
        mask: bool[B, L], True for the script's tokens.
    """

    keys: jax.Array
    values: jax.Array
    mask: jax.Array


class ScriptAlignment(NamedTuple):
    """What frames read.

    Attributes:
        values: float[B, T, D], for each frame.
        positions: float32[B, T], the place in the script after each frame, in tokens.
        log_weights: float32[B, T, L], log of how much each frame reads of each token.
    """

    values: jax.Array
    positions: jax.Array
    log_weights: jax.Array


class ScriptAligner(nn.Module):
    """Reads for each frame, float[B, T, D] -> float[B, T, D].

    With p the position after frame t - 1, frame t looks at token n with weight

        softmax over n of  q_t . k_n - sharpness_t (sqrt(1 + (n - p - step_t)^2) - 1)

    and p becomes the mean position under these weights: near p what counts is the distance squared, far from
    it the distance itself, so that a place that was lost can be found again. Scores of all frames come from
    one matrix product; what runs frame by frame is a softmax over the script.
    """

    width: int
    dtype: str = "float32"

    def setup(self):
        self.script_norm = rms_norm("script_norm", self.dtype)
        self.near = dense(self.width, ("embed", "mlp"), name="near", dtype=self.dtype, use_bias=True)
        self.far = dense(self.width, ("embed", "mlp"), name="far", dtype=self.dtype, use_bias=True)
        self.memory_norm = rms_norm("memory_norm", self.dtype)
        self.key = dense(KEY_WIDTH, ("embed", "mlp"), name="key", dtype=self.dtype)
        # As small as the embeddings that it is added to; it would drown them.
        self.value = dense(self.width, ("embed", "mlp"), name="value", dtype=self.dtype, scale=_VALUE_SCALE)
        self.norm = rms_norm("norm", self.dtype)
        self.query = dense(KEY_WIDTH, ("embed", "mlp"), name="query", dtype=self.dtype)
        self.motion = dense(2, ("embed", "norm"), name="motion", dtype="float32", use_bias=True, scale=0.1)

    def encode(self, script: jax.Array, mask: jax.Array) -> EncodedScript:
        """Encodes a script: each token with its neighbours.

        Args:
            script: float[B, L, D], embedded tokens.
            mask: bool[B, L], True for tokens of the script.
        """
        x = self.script_norm(script) * mask[:, :, None]
        x = x + nn.gelu(self.near(_with_neighbours(x)))
        x = x + nn.gelu(self.far(_with_neighbours(x * mask[:, :, None])))
        # Without this, the gradient that keys and values give back is wrong on meshes with a tensor axis: one
        # of the two partial sums is left out (jax 0.10.2; tests/multidevice sees it).
        x = constrain(self.memory_norm(x), "batch", None, "act_embed")
        return EncodedScript(self.key(x), self.value(x), mask)

    def __call__(self, frames: jax.Array, memory: EncodedScript, position: jax.Array) -> ScriptAlignment:
        """Reads on from a position.

        Args:
            frames: float[B, T, D], what is known when frame t is about to be generated.
            memory: from `encode`.
            position: float32[B], the place in the script before the first of `frames`, in tokens.
        """
        x = self.norm(frames)
        scores = jnp.einsum("btk,blk->btl", self.query(x), memory.keys).astype(jnp.float32)
        scores = jnp.where(memory.mask[:, None, :], scores * KEY_WIDTH**-0.5, -1e9)
        motion = self.motion(x)
        steps = _MAX_STEP * nn.sigmoid(motion[..., 0] + _FIRST_STEP_LOGIT)
        sharpness = _FIRST_SHARPNESS * jnp.exp(motion[..., 1])
        # The position runs through time: every device needs all frames of its clips.
        scores, steps, sharpness = (
            constrain(a, "batch", *[None] * (a.ndim - 1)) for a in (scores, steps, sharpness)
        )
        tokens = jnp.arange(scores.shape[-1], dtype=jnp.float32)

        def frame(position: jax.Array, now: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple]:
            score, step, sharp = now
            away = tokens - (position + step)[:, None]
            log_weights = nn.log_softmax(score - sharp[:, None] * (jnp.sqrt(1.0 + away**2) - 1.0))
            position = jnp.exp(log_weights) @ tokens
            return position, (position, log_weights)

        over_time = tuple(jnp.moveaxis(a, 1, 0) for a in (scores, steps, sharpness))
        _, (positions, log_weights) = jax.lax.scan(frame, position, over_time)
        positions, log_weights = jnp.moveaxis(positions, 0, 1), jnp.moveaxis(log_weights, 0, 1)
        values = jnp.einsum("btl,bld->btd", jnp.exp(log_weights).astype(self.dtype), memory.values)
        return ScriptAlignment(constrain(values, "batch", "length", "act_embed"), positions, log_weights)


def _with_neighbours(x: jax.Array) -> jax.Array:
    """float[B, L, D] -> float[B, L, (2 n + 1) D], each token beside those around it."""
    n, length = NUM_NEIGHBOURS, x.shape[1]
    padded = jnp.pad(x, ((0, 0), (n, n), (0, 0)))
    return jnp.concatenate([padded[:, i : i + length] for i in range(2 * n + 1)], axis=-1)
