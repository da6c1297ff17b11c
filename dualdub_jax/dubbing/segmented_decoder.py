"""Decoding a track whose conditions change: the voice with the speaker, the acoustics with the scene.

Each segment of equal conditions is decoded for itself, with a second of the tokens around it as context, and
faded into the next one over 80 ms around its first frame. The fades have equal power, for the noise and the
phases of two decoders are not correlated. Source: our choice.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from dualdub_jax.dubbing.protocol import TrackDecoder
from dualdub_jax.dubbing.track_decoder import silence

CONTEXT_S = 1
FADE_S = Fraction(80, 1000)


def context_frames(frame_rate: Fraction, sample_rate_hz: int) -> int:
    """How many frames before its first one the tokens of a segment are needed, at most.

    Args:
        frame_rate: of the tokens, frames a second.
        sample_rate_hz: of the decoder.
    """
    return math.ceil(CONTEXT_S * frame_rate) + (sample_rate_hz / Fraction(frame_rate)).denominator


@dataclasses.dataclass(frozen=True)
class Segment:
    """Frames of one track that are decoded alike, up to the next segment.

    Attributes:
        start_frame: the first.
        open_decoder: begins their decoder; called once, when their context is reached.
    """

    start_frame: int
    open_decoder: Callable[[], TrackDecoder]


def open_segments(segments: Sequence[Segment], frame_rate: Fraction) -> TrackDecoder:
    """A decoder of a whole track: that of the segment if there is one only."""
    decoder = segments[0].open_decoder()
    if len(segments) == 1:
        return decoder
    whole = SegmentedDecoder(frame_rate, decoder.sample_rate_hz, decoder.num_channels)
    whole.append(dataclasses.replace(segments[0], open_decoder=lambda: decoder))
    for segment in segments[1:]:
        whole.append(segment)
    return whole


class SegmentedDecoder:
    """Implements `protocol.TrackDecoder`.

    Attributes:
        sample_rate_hz, num_channels: of the waveform.
    """

    def __init__(self, frame_rate: Fraction, sample_rate_hz: int, num_channels: int) -> None:
        """Begins a track.

        Args:
            frame_rate: of the tokens, frames a second.
            sample_rate_hz, num_channels: of all decoders.
        """
        self.sample_rate_hz, self.num_channels = sample_rate_hz, num_channels
        self._frame_rate, self._parts = Fraction(frame_rate), []
        self._num_frames = 0
        self._pending, self._emitted = silence(0, num_channels), 0

    def append(self, segment: Segment) -> None:
        """Ends the last segment with another one; the first starts at frame 0.

        It must be known before the tokens of its context are pushed (`context_frames`).
        """
        if self._parts:
            self._parts[-1].end_with(segment.start_frame)
        self._parts.append(_Part(segment, self._frame_rate, self.sample_rate_hz))

    def push(self, tokens: np.ndarray) -> np.ndarray:
        """See `TrackDecoder.push`."""
        begin, self._num_frames = self._num_frames, self._num_frames + len(tokens)
        for part in self._parts:
            first = max(part.first_frame - begin, 0)
            if first >= len(tokens):
                break
            end = len(tokens) if part.end_frame is None else max(part.end_frame - begin, 0)
            self._add(*part.push(tokens[first:end]))
            if part.end_frame is not None and part.end_frame <= self._num_frames:
                self._add(*part.flush())
        self._parts = [part for part in self._parts if not part.is_done]
        return self._take(min(part.next_audible for part in self._parts))

    def flush(self) -> np.ndarray:
        """See `TrackDecoder.flush`."""
        for part in self._parts:
            if part.first_frame < self._num_frames:
                self._add(*part.flush())
        return self._take(self._emitted + len(self._pending))

    def _add(self, first: int, samples: np.ndarray) -> None:
        """Adds samples of a segment from sample `first` of the track on."""
        samples = samples[max(0, self._emitted - first) :]
        first = max(first, self._emitted) - self._emitted
        missing = first + len(samples) - len(self._pending)
        if missing > 0:
            self._pending = np.concatenate([self._pending, silence(missing, self.num_channels)])
        self._pending[first : first + len(samples)] += samples

    def _take(self, end: int) -> np.ndarray:
        count = max(0, end - self._emitted)
        taken, self._pending = self._pending[:count], self._pending[count:]
        self._emitted += len(taken)
        return taken


class _Part:
    """One segment while it is decoded.

    Attributes:
        first_frame, end_frame: its tokens with their context; the end of the last segment is None.
        is_done: all its samples are decoded.
    """

    def __init__(self, segment: Segment, frame_rate: Fraction, sample_rate_hz: int) -> None:
        self._context = math.ceil(CONTEXT_S * frame_rate)
        self._samples_per_frame = sample_rate_hz / frame_rate
        # Decoding begins with a frame that begins with a sample.
        period = self._samples_per_frame.denominator
        self.first_frame = max(0, segment.start_frame - self._context) // period * period
        self.end_frame: int | None = None
        self.is_done = False
        self._open, self._decoder = segment.open_decoder, None
        self._sample = int(self.first_frame * self._samples_per_frame)  # the next one of the track
        # Samples and gains between them, as angles of which the gain is the sine.
        self._half = int(FADE_S * sample_rate_hz / 2)
        self._corners, self._angles = [-1], [np.pi / 2]
        if segment.start_frame:
            middle = round(segment.start_frame * self._samples_per_frame)
            self._corners, self._angles = [middle - self._half, middle + self._half], [0.0, np.pi / 2]

    def end_with(self, next_frame: int) -> None:
        """Fades out where the next segment starts."""
        self.end_frame = next_frame + self._context
        middle = round(next_frame * self._samples_per_frame)
        self._corners += [max(middle - self._half, self._corners[-1] + 1), middle + self._half]
        self._angles += [np.pi / 2, np.pi]

    @property
    def next_audible(self) -> int:
        """The sample of the track up to which this segment adds nothing more."""
        return max(self._sample, self._corners[0])

    def push(self, tokens: np.ndarray) -> tuple[int, np.ndarray]:
        """Decodes further tokens; returns the first sample's place in the track, and the samples."""
        if self._decoder is None:
            self._decoder = self._open()
        return self._faded(self._decoder.push(tokens))

    def flush(self) -> tuple[int, np.ndarray]:
        """Decodes what is left, likewise."""
        self.is_done = True
        return self._faded(self._decoder.flush())

    def _faded(self, samples: np.ndarray) -> tuple[int, np.ndarray]:
        first = self._sample
        self._sample += len(samples)
        angle = np.interp(np.arange(first, self._sample), self._corners, self._angles)
        return first, (samples.T * np.sin(angle).astype(np.float32)).T
