"""A stand-in for the model, so that everything around it is tested in milliseconds.

A speech token is random, or that of silence where nothing is to be spoken; the first background token is the
brightness of the frame. Decoding turns a token into a tone of its own pitch, so that a test can tell from the
sound what the model was conditioned on.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dualdub_jax.config import Config, GridConfig, SamplingConfig
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.protocol import WindowRequest
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.text.tokenizer import ByteTokenizer
from dualdub_jax.types import Stream

_NUM_CODEBOOKS = {"speech": 6, "background": 3}
_BASE_HZ = {"speech": 200.0, "background": 1200.0}
_SILENCE = -1  # a token that decodes to zeros
_RATES_HZ = {"speech": 16_000, "background": 16_000}


class FakeDecoder:
    """Implements `protocol.TrackDecoder`: a tone for each token, with a latency of one frame."""

    def __init__(self, base_hz: float, sample_rate_hz: int, grid: GridConfig, loudness: float) -> None:
        self.sample_rate_hz, self.num_channels = sample_rate_hz, 1
        self._base_hz, self._loudness = base_hz, loudness
        self._length = int(sample_rate_hz / grid.frame_rate)
        self._held = np.zeros((0, 1), np.int32)

    def push(self, tokens: np.ndarray) -> np.ndarray:
        tokens = np.concatenate([self._held, tokens[:, :1]])
        self._held = tokens[-1:]
        return self._sing(tokens[:-1])

    def flush(self) -> np.ndarray:
        held, self._held = self._held, self._held[:0]
        return self._sing(held)

    def _sing(self, tokens: np.ndarray) -> np.ndarray:
        seconds = np.arange(self._length) / self.sample_rate_hz
        tones = np.sin(2 * np.pi * (self._base_hz + 4 * tokens) * seconds)
        return (self._loudness * tones * (tokens != _SILENCE)).reshape(-1).astype(np.float32)


class FakeEngine:
    """Implements `protocol.DubbingEngine`; `calls` records the arguments of `generate`."""

    def __init__(
        self,
        loudness: float = 0.3,
        has_acoustics: bool = True,
        rates_hz: Mapping[Stream, int] = _RATES_HZ,
        frame_rate: Fraction | None = None,
        grid: GridConfig | None = None,
    ) -> None:
        """With `frame_rate`, video is a feature float32[n, 1] at that rate: the brightness of the frame."""
        self.has_acoustics = has_acoustics
        self.config = Config() if grid is None else dataclasses.replace(Config(), grid=grid)
        self.tokenizer = ByteTokenizer()
        self.loudness = loudness
        self.rates_hz = rates_hz
        self.decoder_kinds = dict.fromkeys(rates_hz, "codec")
        self.has_features = frame_rate is not None
        row = "video_features" if self.has_features else "video"
        spec = FrameSpec(frame_rate or self.config.grid.frame_rate, self.config.grid.frame_size)
        self.frame_specs = {row: spec}
        self.can_speak = True
        self.needs_steering = False  # speaks only where a span says so
        self.calls: list[dict[str, Any]] = []
        self.batches: list[int] = []  # windows of each call of `generate_many`
        self.most_frames = 0  # that `encode_frames` was given at once

    def encode_frames(self, row: str, frames: np.ndarray) -> np.ndarray:
        size = self.frame_specs[row].frame_size
        assert frames.dtype == np.uint8 and frames.shape[1:] == (size, size, 3)
        self.most_frames = max(self.most_frames, len(frames))
        return frames[:, 32, 32, :1].astype(np.float32) if row == "video_features" else frames

    def sample_rate_hz(self, stream: Stream) -> int:
        return self.rates_hz[stream]

    def num_channels(self, stream: Stream) -> int:
        return 1

    def sample_acoustics(self, video: Mapping[str, np.ndarray], seed: int) -> Acoustics | None:
        return Acoustics(0.4, -50.0 - seed) if self.has_acoustics else None

    def generate(
        self,
        *,
        video: Mapping[str, np.ndarray],
        script: str,
        voice: np.ndarray | None,
        acoustics: Acoustics | None = None,
        use_speech: bool,
        use_background: bool,
        context: Mapping[str, np.ndarray],
        seed: int,
        sampling: SamplingConfig,
        speech_span: tuple[int, int] | None = None,
    ) -> dict[str, np.ndarray]:
        grid = self.config.grid
        (video,) = video.values()
        assert 0 < len(video) <= grid.num_frames
        assert len(self.tokenizer.encode(script)) <= grid.num_script_tokens
        assert voice is None or (voice.dtype == np.float32 and voice.ndim == 1)
        self.calls.append(
            {
                "num_frames": len(video),
                "script": script,
                "voice": voice,
                "acoustics": acoustics,
                "context": {name: tokens.copy() for name, tokens in context.items()},
                "seed": seed,
                "sampling": dataclasses.asdict(sampling),
                "speech_span": speech_span,
            }
        )
        rng = np.random.default_rng(seed)
        made = {}
        for name, is_used in (("speech", use_speech), ("background", use_background)):
            if not is_used:
                continue
            tokens = rng.integers(0, 256, (len(video), _NUM_CODEBOOKS[name])).astype(np.int32)
            if name == "background":
                tokens[:, 0] = video[:, 0] if self.has_features else video[:, 32, 32, 0]
            if name == "speech":
                first, end = (0, len(video)) if speech_span is None else speech_span
                is_spoken = self.can_speak and (speech_span is not None or not self.needs_steering)
                frame = np.arange(len(video))
                tokens[(frame < first) | (frame >= end) | (not is_spoken)] = _SILENCE
            if name in context:
                tokens[: len(context[name])] = context[name]
            made[name] = tokens
        return made

    def generate_many(
        self, requests: Sequence[WindowRequest], rows_per_device: int
    ) -> list[dict[str, np.ndarray]]:
        assert 0 < len(requests) <= self.most_windows(rows_per_device)
        self.batches.append(len(requests))
        return [self.generate(**request) for request in requests]

    def most_windows(self, rows_per_device: int) -> int:
        return rows_per_device

    def generate_parts(self, request: WindowRequest, part_frames: int) -> Iterator[dict[str, np.ndarray]]:
        tokens = self.generate(**request)
        num_frames = len(next(iter(tokens.values())))
        for first in range(0, num_frames, part_frames):
            yield {name: track[first : first + part_frames] for name, track in tokens.items()}

    def silence(self, num_frames: int, acoustics: Acoustics | None) -> np.ndarray:
        return np.full((num_frames, _NUM_CODEBOOKS["speech"]), _SILENCE, np.int32)

    def open_decoder(
        self,
        stream: Stream,
        voice: np.ndarray | None = None,
        acoustics: Acoustics | None = None,
        chunk_frames: int | None = None,
    ) -> FakeDecoder:
        return FakeDecoder(_BASE_HZ[stream], self.rates_hz[stream], self.config.grid, self.loudness)
