"""Encoding a mix for a container, in blocks."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import soxr

from dualdub_jax.media.track import Samples

AUDIO_BIT_RATE = 96_000  # bits a second and channel: beyond what speech and noise can use
_LAYOUTS = {1: "mono", 2: "stereo"}
_BLOCK = 1024  # samples handed to the encoder at a time
_READ = 64 * _BLOCK  # samples read at a time


class MixEncoder:
    """Encodes a mix as an audio stream of an open target."""

    def __init__(
        self, target: av.container.OutputContainer, codec: str, mix: Samples, sample_rate_hz: int
    ) -> None:
        """Adds the stream.

        Args:
            target: where it is written.
            codec: name of the encoder.
            mix: float32[S], or [S, 2] in stereo, in [-1, 1], read in blocks.
            sample_rate_hz: of `mix`.
        """
        self._mix, self._mix_rate_hz = mix, sample_rate_hz
        self._rate_hz = _encodable_rate(codec, sample_rate_hz)
        shape = mix[:0].shape
        self._num_channels = 1 if len(shape) == 1 else shape[1]
        self._layout = _LAYOUTS[self._num_channels]
        self._stream = target.add_stream(codec, rate=self._rate_hz, layout=self._layout)
        self._stream.bit_rate = self._num_channels * AUDIO_BIT_RATE
        self._stream.disposition = av.stream.Disposition.default

    def packets(self) -> Iterator[tuple[Fraction, list[av.Packet]]]:
        """Yields encoded packets, each group with the time in seconds up to which the encoder was fed."""
        num_fed = 0
        for block in self._blocks():
            if not len(block):
                continue
            planes = np.ascontiguousarray(block.reshape(-1, self._num_channels).T, np.float32)
            frame = av.AudioFrame.from_ndarray(planes, "fltp", self._layout)
            frame.sample_rate = self._rate_hz
            frame.time_base = Fraction(1, self._rate_hz)
            frame.pts = num_fed
            num_fed += len(block)
            yield Fraction(num_fed, self._rate_hz), self._stream.encode(frame)
        yield Fraction(num_fed, self._rate_hz), self._stream.encode(None)

    def _blocks(self) -> Iterator[np.ndarray]:
        """Blocks of the mix at the encoder's rate."""
        mix = self._mix
        blocks = (
            part[first : first + _BLOCK]
            for start in range(0, len(mix), _READ)
            for part in (mix[start : start + _READ],)
            for first in range(0, len(part), _BLOCK)
        )
        if self._mix_rate_hz == self._rate_hz:
            yield from blocks
            return
        resampler = soxr.ResampleStream(self._mix_rate_hz, self._rate_hz, self._num_channels, dtype="float32")
        for block in blocks:
            yield resampler.resample_chunk(np.asarray(block, np.float32))
        yield resampler.resample_chunk(np.asarray(mix[:0], np.float32), last=True)


def _encodable_rate(codec: str, sample_rate_hz: int) -> int:
    """The lowest rate of the codec that keeps the whole band: AAC and Opus take a few rates only."""
    rates = av.Codec(codec, "w").audio_rates or [sample_rate_hz]
    return min((rate for rate in rates if rate >= sample_rate_hz), default=max(rates))
