"""A stand-in for the model, so that everything around it is tested in milliseconds.

It "says" its script and "hears" the video: a speech token is the length of the window's script plus the
frame's place in the film, a background token is the brightness of the frame. Decoding turns a token into
a tone of its own, so that a test can tell from the sound what the model was given.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.config import Config, SamplingConfig
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.text.tokenizer import ByteTokenizer

_NUM_CODEBOOKS = {"speech": 6, "background": 3}


class FakeEngine:
    """Implements `dualdub_jax.dubbing.dub.Engine`; `calls` records the arguments of `generate`."""

    def __init__(self, loudness: float = 0.3, has_acoustics: bool = True) -> None:
        self.has_acoustics = has_acoustics
        self.config = Config()
        self.tokenizer = ByteTokenizer()
        self.loudness = loudness
        self.calls: list[dict[str, Any]] = []

    def sample_acoustics(self, video: np.ndarray, seed: int) -> Acoustics | None:
        return Acoustics(0.4, -50.0 - seed) if self.has_acoustics else None

    def generate(
        self,
        *,
        video: np.ndarray,
        script: str,
        voice: np.ndarray | None,
        acoustics: Acoustics | None = None,
        use_speech: bool,
        use_background: bool,
        context: Mapping[str, np.ndarray],
        seed: int,
        sampling: SamplingConfig,
    ) -> dict[str, np.ndarray]:
        grid = self.config.grid
        assert video.dtype == np.uint8 and video.shape[1:] == (grid.frame_size, grid.frame_size, 3)
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
            }
        )
        rng = np.random.default_rng(seed)
        made = {}
        for name, is_used in (("speech", use_speech), ("background", use_background)):
            if not is_used:
                continue
            tokens = rng.integers(0, 256, (len(video), _NUM_CODEBOOKS[name])).astype(np.int32)
            if name == "background":
                tokens[:, 0] = video[:, 32, 32, 0]
            if name in context:
                tokens[: len(context[name])] = context[name]
            made[name] = tokens
        return made

    def decode(
        self,
        stream: str,
        tokens: np.ndarray,
        voice: np.ndarray | None = None,
        acoustics: Acoustics | None = None,
    ) -> np.ndarray:
        assert tokens.shape[1] == _NUM_CODEBOOKS[stream]
        step = self.config.grid.samples_per_frame
        seconds = np.arange(step) / self.config.grid.sample_rate_hz
        base_hz = 200.0 if stream == "speech" else 1200.0
        tones = np.sin(2 * np.pi * (base_hz + 4 * tokens[:, :1]) * seconds)
        return (self.loudness * tones).reshape(-1).astype(np.float32)
