"""Decoding a track of any length in bounded memory.

A short track is decoded in one call. A longer one goes through the codec's streaming decoder in large chunks,
which gives the same samples within float rounding, so that the networks' activations do not grow with it.
Source: our choice.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from dualdub_jax.dsp.blocks import resample_blocks, silence
from dualdub_jax.dubbing.protocol import TrackDecoder

if TYPE_CHECKING:
    from dualdub_jax.codecs.base import CodecStream

ONE_CALL_S = 30  # the longest track that is decoded in one call
CHUNK_S = 20
_PUSHED_FRAMES = 250


class BufferedTrackDecoder:
    """Implements `protocol.TrackDecoder` for a codec or a waveform decoder.

    Attributes:
        sample_rate_hz, num_channels: of the waveform.
    """

    def __init__(
        self,
        decode: Callable[[np.ndarray], np.ndarray],
        open_stream: Callable[[], "CodecStream"],
        sample_rate_hz: int,
        max_frames: int,
        num_channels: int = 1,
    ) -> None:
        """Begins a track.

        Args:
            decode: decodes a whole track, int32[T, Q] -> float32[S], or [S, 2] in stereo.
            open_stream: begins a streaming decoder of a batch of one.
            sample_rate_hz: of the waveform.
            max_frames: the longest track that `decode` is given.
            num_channels: of the waveform.
        """
        self.sample_rate_hz, self.num_channels = sample_rate_hz, num_channels
        self._decode, self._open_stream, self._max_frames = decode, open_stream, max_frames
        self._held: list[np.ndarray] = []  # int32[t, Q] each, while the track is short
        self._stream: CodecStream | None = None

    def push(self, tokens: np.ndarray) -> np.ndarray:
        """See `TrackDecoder.push`."""
        if self._stream is not None:
            return _row(self._stream.push(np.asarray(tokens)[None]))
        self._held.append(np.asarray(tokens))
        if sum(map(len, self._held)) <= self._max_frames:
            return silence(0, self.num_channels)
        self._stream = self._open_stream()
        held, self._held = np.concatenate(self._held), []
        return _row(self._stream.push(held[None]))

    def flush(self) -> np.ndarray:
        """See `TrackDecoder.flush`."""
        if self._stream is not None:
            return _row(self._stream.flush())
        if not self._held:
            return silence(0, self.num_channels)
        held, self._held = np.concatenate(self._held), []
        return self._decode(held)


def _row(waveforms: Any) -> np.ndarray:
    return np.asarray(waveforms, np.float32)[0]


def decode_track(
    decoder: TrackDecoder,
    tokens: np.ndarray | Iterable[np.ndarray],
    sample_rate_hz: int,
    num_samples: int,
    num_channels: int = 1,
) -> Iterator[np.ndarray]:
    """Decodes a track to an exact number of samples at the rate of the mix, and to its channels.

    Args:
        decoder: new, of this track.
        tokens: int32[T, Q]; or int32[t, Q] pieces of them, for each of which a block is yielded.
        sample_rate_hz: of the mix; the decoder's may be lower or higher.
        num_samples: length of the track; samples beyond are cut off.
        num_channels: of the mix; a mono track sounds in the middle of a stereo mix.

    Yields:
        float32[s] blocks, or [s, 2] in stereo.

    Raises:
        ValueError: the tokens are too few.
    """
    pieces = tokens
    if isinstance(tokens, np.ndarray):
        pieces = (tokens[first : first + _PUSHED_FRAMES] for first in range(0, len(tokens), _PUSHED_FRAMES))
    blocks = _decode_blocks(decoder, pieces)
    missing = 0
    if decoder.sample_rate_hz != sample_rate_hz:
        blocks = resample_blocks(blocks, decoder.sample_rate_hz, sample_rate_hz, decoder.num_channels)
        # Lengths are rounded once at each rate: the last samples may fall between them.
        missing = math.ceil(sample_rate_hz / decoder.sample_rate_hz) + 1
    if num_channels != decoder.num_channels:
        blocks = (np.repeat(block[:, None], num_channels, axis=1) for block in blocks)
    num_left = num_samples
    for block in blocks:
        yield block[:num_left]
        num_left -= min(len(block), num_left)
    if num_left > missing:
        raise ValueError(f"the tokens end {num_left} samples before the film does")
    yield silence(num_left, num_channels)


def _decode_blocks(decoder: TrackDecoder, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for piece in pieces:
        yield decoder.push(piece)
    yield decoder.flush()
