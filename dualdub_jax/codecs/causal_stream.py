"""Streaming for causal decoders, which carry a state: the same samples as one call, without lookahead."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PyTree = Any  # the decoder's state: nested arrays


class CausalStream:
    """Implements `codecs.base.CodecStream`; all calls of the decoder have one shape."""

    def __init__(
        self,
        step: Callable[[PyTree, jax.Array], tuple[jax.Array, PyTree]],
        first_state: Callable[[int], PyTree],
        samples_per_frame: int,
        chunk_frames: int,
    ) -> None:
        """Opens a stream.

        Args:
            step: state and tokens int32[B, chunk_frames, Q] -> float32[B, s] and the next state.
            first_state: of a batch size.
            samples_per_frame: of the codec.
            chunk_frames: of one call.
        """
        self._step, self._first_state = step, first_state
        self._samples, self._chunk = samples_per_frame, chunk_frames
        self._reset()

    def push(self, tokens: jax.Array) -> jax.Array:
        """See `CodecStream.push`."""
        tokens = np.asarray(tokens, np.int32)
        if self._tokens is None:
            self._tokens, self._state = tokens[:, :0], self._first_state(len(tokens))
        self._tokens = np.concatenate([self._tokens, tokens], axis=1)
        ready = []
        while self._tokens.shape[1] >= self._chunk:
            ready.append(self._decode(self._tokens[:, : self._chunk]))
            self._tokens = self._tokens[:, self._chunk :]
        return jnp.concatenate(ready, axis=1) if ready else jnp.zeros((len(tokens), 0))

    def flush(self) -> jax.Array:
        """See `CodecStream.flush`."""
        if self._tokens is None:
            return jnp.zeros((0, 0))
        num_left = self._tokens.shape[1]
        # What follows the last frame does not change the samples before it.
        rest = np.pad(self._tokens, ((0, 0), (0, self._chunk - num_left), (0, 0)))
        waveform = self._decode(rest)[:, : num_left * self._samples]
        self._reset()
        return waveform

    def _decode(self, tokens: np.ndarray) -> jax.Array:
        waveform, self._state = self._step(self._state, jnp.asarray(tokens))
        return waveform

    def _reset(self) -> None:
        self._tokens: np.ndarray | None = None  # int32[B, t, Q], not yet decoded
        self._state: PyTree = None
