"""Encoding an audio track for a container, in blocks.

A packet depends on the sound around it alone, so that a retake changes no packet far from it. Encoders that
distribute bits over the whole track would change all of them. Source: our choice.
"""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.codec.context import Flags

from dualdub_jax.dsp.blocks import resample_blocks
from dualdub_jax.media.new_tracks import AudioTrack

OPUS_BIT_RATE = 96_000  # bits a second and channel: beyond what speech and noise can use
# AAC at the quality that its model of hearing asks for, about 80 kbit/s a channel at 16 kHz and 200 at 48,
# and without noise substitution, for decoders draw that noise from one sequence for the whole track.
_LOCAL = {"aac": {"aac_coder": "fast", "aac_pns": "0"}, "libopus": {"vbr": "off"}}
_LAYOUTS = {1: "mono", 2: "stereo"}
_BLOCK = 1024  # samples handed to the encoder at a time
_READ = 64 * _BLOCK  # samples read at a time


class AudioEncoder:
    """Encodes a track as an audio stream of an open target.

    Attributes:
        stream: the target's.
    """

    def __init__(self, target: av.container.OutputContainer, codec: str, track: AudioTrack) -> None:
        """Adds the stream; `codec` is the name of an encoder."""
        self._track = track
        self._rate_hz = _encodable_rate(codec, track.sample_rate_hz)
        shape = track.samples[:0].shape
        self._num_channels = 1 if len(shape) == 1 else shape[1]
        self._layout = _LAYOUTS[self._num_channels]
        self.stream = target.add_stream(
            codec, rate=self._rate_hz, layout=self._layout, options=_LOCAL.get(codec, {})
        )
        if codec == "aac":
            self.stream.codec_context.flags |= Flags.qscale
        else:
            self.stream.bit_rate = self._num_channels * OPUS_BIT_RATE
        self.stream.disposition = av.stream.Disposition.default if track.is_default else 0

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
            yield Fraction(num_fed, self._rate_hz), self.stream.encode(frame)
        yield Fraction(num_fed, self._rate_hz), self.stream.encode(None)

    def _blocks(self) -> Iterator[np.ndarray]:
        """Blocks of the track at the encoder's rate."""
        samples = self._track.samples
        blocks = (
            part[first : first + _BLOCK]
            for start in range(0, len(samples), _READ)
            for part in (samples[start : start + _READ],)
            for first in range(0, len(part), _BLOCK)
        )
        return resample_blocks(blocks, self._track.sample_rate_hz, self._rate_hz, self._num_channels)


def _encodable_rate(codec: str, sample_rate_hz: int) -> int:
    """The lowest rate of the codec that keeps the whole band: AAC and Opus take a few rates only."""
    rates = av.Codec(codec, "w").audio_rates or [sample_rate_hz]
    return min((rate for rate in rates if rate >= sample_rate_hz), default=max(rates))
