"""Streaming: whole blocks, as soon as the tokens that they read are there."""

from collections.abc import Mapping
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.decoders.flow_matching.blocks import Layout
from dualdub_jax.types import Array

Conditions = dict[str, jax.Array | None]

_NEVER = 1 << 40  # tokens of a track that goes on


class BlockDecoder(Protocol):
    """What a stream needs of `FlowMatchingDecoder`, which has the meaning of these."""

    layout: Layout
    num_channels: int

    def own_tokens(self, tokens: Array) -> np.ndarray: ...

    def conditions(self, known: Mapping[str, Array] | None, batch_size: int) -> Conditions: ...

    def decode_blocks(
        self,
        tokens: np.ndarray,
        first_token: int,
        first_block: int,
        num_blocks: int,
        lengths: np.ndarray,
        conditions: Conditions,
        phase: Array,
        anchor: int = 0,
    ) -> tuple[jax.Array, jax.Array]: ...

    def shaped(self, waveform: jax.Array) -> jax.Array: ...


class FlowStream:
    """Implements `codecs.base.CodecStream`.

    Each call decodes one block more than it returns on both sides, so that the blocks in between are
    cross-faded with both neighbours, and the frozen decoder reads what it does in one call.

    Args:
        decoder: of one stream.
        num_blocks: returned by a call.
        conditions: as for `WaveformDecoder.decode`.
    """

    def __init__(
        self, decoder: BlockDecoder, num_blocks: int, conditions: Mapping[str, Array] | None
    ) -> None:
        self._decoder, self._layout, self._num_blocks = decoder, decoder.layout, num_blocks
        self._known = conditions
        layout = self._layout
        # Tokens at hand in each call have one shape: those of all latents that its windows read.
        span = (num_blocks + 2) * layout.block + 2 * layout.context
        self._num_tokens = int(span * layout.tokens_per_latent) + 8
        self._reset()

    def push(self, tokens: Array) -> jax.Array:
        """See `CodecStream.push`.

        Raises:
            ValueError: tokens of another shape, or outside of the codebook.
        """
        tokens = self._decoder.own_tokens(tokens)
        if self._tokens is None:
            self._tokens = tokens
            self._phase = jnp.zeros(len(tokens))
            self._conditions = self._decoder.conditions(self._known, len(tokens))
        else:
            self._tokens = np.concatenate([self._tokens, tokens], axis=1)
        ready = []
        while self._is_ready():
            ready.append(self._decode(_NEVER))
        return self._joined(ready)

    def flush(self) -> jax.Array:
        """See `CodecStream.flush`."""
        if self._tokens is None:
            return self._decoder.shaped(jnp.zeros((0, 0, self._decoder.num_channels)))
        length = self._first_token + self._tokens.shape[1]
        num_left = self._layout.num_samples(length) - self._next_block * self._samples_per_block
        ready = []
        while num_left > 0:
            ready.append(self._decode(length)[:, :num_left])
            num_left -= ready[-1].shape[1]
        joined = self._joined(ready)
        self._reset()
        return joined

    @property
    def _samples_per_block(self) -> int:
        return self._layout.block * self._layout.samples_per_latent

    def _first_window(self) -> int:
        return max(self._next_block - 1, 0)

    def _is_ready(self) -> bool:
        layout = self._layout
        needed = (self._first_window() + self._num_blocks + 2) * layout.block + layout.context
        return layout.num_known_latents(self._first_token + self._tokens.shape[1]) >= needed

    def _decode(self, length: int) -> jax.Array:
        """The next blocks of a track of `length` tokens, float32[B, s, C]."""
        layout, first = self._layout, self._first_window()
        at_hand = self._tokens[:, : self._num_tokens]
        at_hand = np.pad(at_hand, ((0, 0), (0, self._num_tokens - at_hand.shape[1]), (0, 0)))
        anchor = (self._next_block - first) * layout.block
        waveform, phases = self._decoder.decode_blocks(
            at_hand,
            self._first_token,
            first,
            self._num_blocks + 2,
            np.full(len(at_hand), length),
            self._conditions,
            self._phase,
            anchor,
        )
        end = anchor + self._num_blocks * layout.block
        self._phase = phases[:, end]
        self._next_block += self._num_blocks
        # Tokens before the next windows are not needed again.
        oldest = (self._first_window() * layout.block - layout.context) * layout.tokens_per_latent
        num_done = max(int(oldest) - 2 - self._first_token, 0)
        self._tokens = self._tokens[:, num_done:]
        self._first_token += num_done
        return waveform[:, anchor * layout.samples_per_latent : end * layout.samples_per_latent]

    def _joined(self, ready: list[jax.Array]) -> jax.Array:
        if not ready:
            return self._decoder.shaped(jnp.zeros((len(self._tokens), 0, self._decoder.num_channels)))
        return self._decoder.shaped(jnp.concatenate(ready, axis=1))

    def _reset(self) -> None:
        self._tokens: np.ndarray | None = None  # int32[B, n, Q] at the codec's rate, from `_first_token` on
        self._first_token = 0
        self._next_block = 0
        self._phase: jax.Array | None = None  # float32[B], at the beginning of `_next_block`
