"""Chunked decoding, sample-exact with one call over the whole sequence.

A decoder with a receptive field of `context_frames` on each side runs on windows

    | context_frames | chunk_frames | context_frames |

and only the middle of each output is kept. All windows have one shape, so the decoder compiles once. Frames
before the beginning and after the end are masked, as they are at the ends of a whole sequence. The phase of
the tonal source is carried from window to window. Source: our choice.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np


class WindowDecoder(Protocol):
    """Decodes one window: `CodecModules.decode` with its variables bound."""

    def __call__(
        self, tokens: jax.Array, mask: jax.Array, first_frame: jax.Array, phase: jax.Array, anchor_frame: int
    ) -> tuple[jax.Array, jax.Array]: ...


class DecodeStream:
    """Implements `codecs.base.CodecStream` over a window decoder."""

    def __init__(
        self,
        decode: WindowDecoder,
        num_codebooks: int,
        samples_per_frame: int,
        context_frames: int,
        chunk_frames: int = 8,
    ):
        """Opens a stream.

        Args:
            decode: the window decoder.
            num_codebooks: Q.
            samples_per_frame: samples per token frame.
            context_frames: receptive field of `decode` on each side; the latency of the stream.
            chunk_frames: frames per call of `decode`; larger chunks are faster and add latency.
        """
        self._decode = decode
        self._num_codebooks = num_codebooks
        self._samples_per_frame = samples_per_frame
        self._context, self._chunk = context_frames, chunk_frames
        self._reset()

    def _reset(self) -> None:
        self._tokens: np.ndarray | None = None  # int32[B, t, Q], from frame `_num_decoded - context` on
        self._num_decoded = 0  # frames returned so far
        self._phase: jax.Array | None = None  # float32[B], at the start of frame `_num_decoded`

    def push(self, tokens: jax.Array) -> jax.Array:
        """See `CodecStream.push`.

        Raises:
            ValueError: the batch size or the number of codebooks differs from the stream's.
        """
        tokens = np.asarray(tokens, np.int32)
        batch_size = tokens.shape[0] if self._tokens is None else self._tokens.shape[0]
        if tokens.ndim != 3 or tokens.shape[0] != batch_size or tokens.shape[2] != self._num_codebooks:
            raise ValueError(
                f"tokens: expected int32[{batch_size}, t, {self._num_codebooks}], got {list(tokens.shape)}"
            )
        if self._tokens is None:
            self._tokens = np.zeros((batch_size, self._context, self._num_codebooks), np.int32)
            self._phase = jnp.zeros(batch_size)
        self._tokens = np.concatenate([self._tokens, tokens], axis=1)
        decoded = []
        while self._tokens.shape[1] >= 2 * self._context + self._chunk:
            decoded.append(self._decode_chunk(self._chunk))
        return self._joined(decoded, batch_size)

    def flush(self) -> jax.Array:
        """See `CodecStream.flush`."""
        if self._tokens is None:
            return jnp.zeros((0, 0))
        decoded = []
        batch_size = self._tokens.shape[0]
        while (left := self._tokens.shape[1] - self._context) > 0:
            decoded.append(self._decode_chunk(min(left, self._chunk)))
        self._reset()
        return self._joined(decoded, batch_size)

    def _decode_chunk(self, num_frames: int) -> jax.Array:
        length = 2 * self._context + self._chunk
        window = self._tokens[:, :length]
        known = window.shape[1]
        window = np.pad(window, ((0, 0), (0, length - known), (0, 0)))
        first_frame = self._num_decoded - self._context
        position = np.arange(length)
        mask = np.broadcast_to((position + first_frame >= 0) & (position < known), window.shape[:2])
        waveform, phases = self._decode(
            jnp.asarray(window),
            jnp.asarray(mask),
            jnp.int32(first_frame),
            self._phase,
            anchor_frame=self._context,
        )
        begin = self._context * self._samples_per_frame
        # After the last frame of a window no frame remains, so a phase beyond its end is never used.
        self._phase = phases[:, min(self._context + num_frames, length - 1)]
        self._tokens = self._tokens[:, num_frames:]
        self._num_decoded += num_frames
        return waveform[:, begin : begin + num_frames * self._samples_per_frame]

    def _joined(self, decoded: list[jax.Array], batch_size: int) -> jax.Array:
        return jnp.concatenate(decoded, axis=1) if decoded else jnp.zeros((batch_size, 0))
