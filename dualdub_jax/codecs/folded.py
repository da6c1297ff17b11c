"""Codecs whose frame rate is a multiple of the grid's, folded onto it.

On a 25 Hz grid, a 50 Hz codec with one codebook becomes two codebook slots per grid frame, the earlier frame
first. The language model predicts the slots of a grid frame in temporal order. Source: our choice.
"""

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int

from dualdub_jax.codecs.base import Codec, CodecSpec, CodecStream
from dualdub_jax.errors import UserError
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


def fold_of(spec: CodecSpec, frame_rate: Fraction, key: str) -> int:
    """Codec frames per grid frame.

    Args:
        spec: of the codec at its own frame rate.
        frame_rate: of the grid, frames per second.
        key: of the codec's config, for messages.

    Raises:
        UserError: not an integer.
    """
    fold = spec.frame_rate / frame_rate
    if fold.denominator != 1:
        raise UserError(
            f"{key}: its frame rate of {float(spec.frame_rate):g} Hz is not a multiple of the grid's "
            f"{float(frame_rate):g} Hz; set config.grid.frame_rate_hz"
        )
    return int(fold)


def folded_spec(spec: CodecSpec, fold: int) -> CodecSpec:
    """The spec on the grid: `fold` times fewer frames, `fold` times more codebooks."""
    return dataclasses.replace(
        spec, frame_rate=spec.frame_rate / fold, num_codebooks=spec.num_codebooks * fold
    )


class FoldedCodec:
    """Implements `codecs.base.Codec` on the grid over a codec with a higher frame rate.

    Args:
        codec: at its own frame rate.
        fold: codec frames per grid frame.

    Attributes:
        unfolded: the codec at its own frame rate.
    """

    def __init__(self, codec: Codec, fold: int) -> None:
        self.unfolded, self._fold = codec, fold
        self.spec = folded_spec(codec.spec, fold)
        self.latency_frames = -(-codec.latency_frames // fold)
        if hasattr(codec, "encode_speaker"):
            self.encode_speaker = lambda waveform, frame_mask=None: codec.encode_speaker(
                waveform, self._unfold_mask(frame_mask)
            )

    @checked
    def encode(
        self, waveform: Float[Array, "B S"], frame_mask: Bool[Array, "B T"] | None = None
    ) -> Int[Array, "B T Q"]:
        """See `Codec.encode`."""
        missing = -waveform.shape[1] % self.spec.samples_per_frame
        waveform = jnp.pad(jnp.asarray(waveform, jnp.float32), ((0, 0), (0, missing)))
        tokens = self.unfolded.encode(waveform, self._unfold_mask(frame_mask))
        return rearrange(tokens, "B (T f) Q -> B T (f Q)", f=self._fold)

    @checked
    def decode(
        self,
        tokens: Int[Array, "B T Q"],
        frame_mask: Bool[Array, "B T"] | None = None,
        conditions: Mapping[str, Array] | None = None,
    ) -> Float[Array, "B S"]:
        """See `Codec.decode`."""
        return self.unfolded.decode(self._unfold(tokens), self._unfold_mask(frame_mask), conditions)

    def stream(self, conditions: Mapping[str, Array] | None = None, chunk_frames: int = 8) -> CodecStream:
        """See `Codec.stream`."""
        return _FoldedStream(self.unfolded.stream(conditions, chunk_frames * self._fold), self._unfold)

    def _unfold(self, tokens: jax.Array) -> jax.Array:
        return rearrange(tokens, "B T (f Q) -> B (T f) Q", f=self._fold)

    def _unfold_mask(self, frame_mask: jax.Array | None) -> jax.Array | None:
        return None if frame_mask is None else repeat(frame_mask, "B T -> B (T f)", f=self._fold)


def unfolded(codec: Codec) -> Codec:
    """A codec at its own frame rate, given the one on the grid."""
    return codec.unfolded if isinstance(codec, FoldedCodec) else codec


class _FoldedStream:
    """Implements `CodecStream`."""

    def __init__(self, stream: CodecStream, unfold) -> None:
        self._stream, self._unfold = stream, unfold
        self.flush = stream.flush

    def push(self, tokens: jax.Array) -> jax.Array:
        """See `CodecStream.push`."""
        return self._stream.push(self._unfold(tokens))
