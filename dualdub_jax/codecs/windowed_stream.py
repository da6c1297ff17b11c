"""Streaming for decoders that are not causal: overlapping windows, cross-faded, or cut where they agree.

    | window_frames            |
                  | overlap |             |
                  | window_frames         |

A track of at most one window is decoded in one call and equals it. Longer ones equal it if windows are cut
and half of the overlap is the decoder's receptive field, and are close if the decoder has none, as with
attention over the whole clip. Source: our choice.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


class WindowedStream:
    """Implements `codecs.base.CodecStream`; all windows have one shape."""

    def __init__(
        self,
        decode: Callable[[jax.Array, jax.Array], jax.Array],
        samples_per_frame: int,
        window_frames: int,
        overlap_frames: int,
        is_faded: bool = True,
    ) -> None:
        """Opens a stream.

        Args:
            decode: tokens int32[B, T, Q] and mask bool[B, T] -> float32[B, T * samples_per_frame].
            samples_per_frame: of the codec.
            window_frames: of one call.
            overlap_frames: shared by two windows; at most half of one.
            is_faded: cross-fade the overlap; otherwise one window ends and the next begins at its middle.

        Raises:
            ValueError: an overlap longer than half of a window.
        """
        if not 0 < 2 * overlap_frames <= window_frames:
            raise ValueError(f"an overlap of {overlap_frames} frames is not within half of {window_frames}")
        self._decode, self._samples = decode, samples_per_frame
        self._window, self._overlap = window_frames, overlap_frames
        # Equal power is for unrelated signals; those of two windows agree.
        rise = (np.arange(overlap_frames * samples_per_frame) + 0.5) / (overlap_frames * samples_per_frame)
        self._rise = rise if is_faded else np.round(rise)
        self._reset()

    def push(self, tokens: jax.Array) -> jax.Array:
        """See `CodecStream.push`."""
        tokens = np.asarray(tokens, np.int32)
        self._tokens = tokens if self._tokens is None else np.concatenate([self._tokens, tokens], axis=1)
        ready = []
        # More than a window: the end of a track is decoded by `flush`, with as much of the past as fits.
        while self._tokens.shape[1] > self._window:
            ready.append(self._decode_window(self._tokens[:, : self._window], is_last=False))
            self._tokens = self._tokens[:, self._window - self._overlap :]
        return self._joined(ready, len(tokens))

    def flush(self) -> jax.Array:
        """See `CodecStream.flush`."""
        if self._tokens is None:
            return jnp.zeros((0, 0))
        ready = [self._decode_window(self._tokens, is_last=True)] if self._tokens.shape[1] else []
        batch_size = len(self._tokens)
        self._reset()
        return self._joined(ready, batch_size)

    def _decode_window(self, tokens: np.ndarray, is_last: bool) -> np.ndarray:
        num_frames = tokens.shape[1]
        padded = np.pad(tokens, ((0, 0), (0, self._window - num_frames), (0, 0)))
        mask = np.broadcast_to(np.arange(self._window) < num_frames, padded.shape[:2])
        decoded = np.asarray(self._decode(jnp.asarray(padded), jnp.asarray(mask)))
        decoded = decoded[:, : num_frames * self._samples].copy()
        if self._tail is not None:
            shared = self._tail.shape[1]
            decoded[:, :shared] = self._tail * (1.0 - self._rise) + decoded[:, :shared] * self._rise
        if is_last:
            return decoded
        shared = self._overlap * self._samples
        self._tail = decoded[:, -shared:]
        return decoded[:, :-shared]

    def _joined(self, decoded: list[np.ndarray], batch_size: int) -> jax.Array:
        return jnp.asarray(
            np.concatenate(decoded, axis=1) if decoded else np.zeros((batch_size, 0), np.float32)
        )

    def _reset(self) -> None:
        self._tokens: np.ndarray | None = None  # int32[B, t, Q], those of the tail first
        self._tail: np.ndarray | None = None  # float32[B, s], decoded and not yet faded
