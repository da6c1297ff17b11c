"""Codecs whose frame rate is a multiple of the grid's, folded onto it.

A 50 Hz codec of one codebook on a grid of 25 Hz becomes two codebook slots a grid frame, the earlier frame
first. Source: our choice; the language model then predicts a grid frame's slots in order of time.
"""

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from dualdub_jax.codecs.base import Codec, CodecSpec, CodecStream
from dualdub_jax.errors import UserError


def fold_of(spec: CodecSpec, frame_rate: Fraction, key: str) -> int:
    """Frames of a codec in a frame of the grid.

    Raises:
        UserError: they are no whole number.
    """
    fold = spec.frame_rate / frame_rate
    if fold.denominator != 1:
        raise UserError(
            f"{key}: has {float(spec.frame_rate):g} frames a second, no multiple of the grid's "
            f"{float(frame_rate):g}; set config.grid.frame_rate_hz"
        )
    return int(fold)


def folded_spec(spec: CodecSpec, fold: int) -> CodecSpec:
    """The spec on the grid: fewer frames, more codebooks."""
    return dataclasses.replace(
        spec, frame_rate=spec.frame_rate / fold, num_codebooks=spec.num_codebooks * fold
    )


class FoldedCodec:
    """Implements `codecs.base.Codec` over a codec of a higher frame rate.

    Args:
        codec: at its own frame rate.
        fold: its frames in a grid frame.
    """

    def __init__(self, codec: Codec, fold: int) -> None:
        self._codec, self._fold = codec, fold
        self.spec = folded_spec(codec.spec, fold)
        self.latency_frames = -(-codec.latency_frames // fold)
        if hasattr(codec, "encode_speaker"):
            self.encode_speaker = lambda waveform, frame_mask=None: codec.encode_speaker(
                waveform, self._unfold_mask(frame_mask)
            )

    def encode(self, waveform: jax.Array, frame_mask: jax.Array | None = None) -> jax.Array:
        """See `Codec.encode`."""
        missing = -waveform.shape[1] % self.spec.samples_per_frame
        waveform = jnp.pad(jnp.asarray(waveform, jnp.float32), ((0, 0), (0, missing)))
        tokens = self._codec.encode(waveform, self._unfold_mask(frame_mask))
        return rearrange(tokens, "B (T f) Q -> B T (f Q)", f=self._fold)

    def decode(
        self,
        tokens: jax.Array,
        frame_mask: jax.Array | None = None,
        conditions: Mapping[str, jax.Array] | None = None,
    ) -> jax.Array:
        """See `Codec.decode`."""
        return self._codec.decode(self._unfold(tokens), self._unfold_mask(frame_mask), conditions)

    def stream(self, conditions: Mapping[str, jax.Array] | None = None, chunk_frames: int = 8) -> CodecStream:
        """See `Codec.stream`."""
        return _FoldedStream(self._codec.stream(conditions, chunk_frames * self._fold), self._unfold)

    def _unfold(self, tokens: jax.Array) -> jax.Array:
        return rearrange(np.asarray(tokens), "B T (f Q) -> B (T f) Q", f=self._fold)

    def _unfold_mask(self, frame_mask: jax.Array | None) -> jax.Array | None:
        return None if frame_mask is None else np.repeat(np.asarray(frame_mask), self._fold, axis=1)


class _FoldedStream:
    """Implements `CodecStream`."""

    def __init__(self, stream: CodecStream, unfold) -> None:
        self._stream, self._unfold = stream, unfold
        self.flush = stream.flush

    def push(self, tokens: jax.Array) -> jax.Array:
        """See `CodecStream.push`."""
        return self._stream.push(self._unfold(tokens))
