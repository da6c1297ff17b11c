"""CLIP as a frozen feature extractor: one vector a frame.

Source: the paper (its section on the multimodal encoder) encodes every third picture by a frozen CLIP. Which
of CLIP's two vectors it takes is not stated; both are offered.
"""

import json
import pathlib
from collections.abc import Iterator
from fractions import Fraction

import jax
import numpy as np
from jaxtyping import Float, UInt8

from dualdub_jax.checkpoints.converted import read_converted
from dualdub_jax.encoders.clip.tower import ClipConfig, ClipTower
from dualdub_jax.errors import UserError
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.parts.shapes import checked

_BATCH = 32  # frames a call, so that one program serves films of any length


class ClipExtractor:
    """Implements `encoders.base.FeatureExtractor`.

    Attributes:
        frame_spec: rate and size of its input frames, cropped to squares.
        dim: of a vector.
        fingerprint: of weights, vector and preprocessing.
    """

    def __init__(self, path: str = "", frame_rate_hz: str = "25/3", vector: str = "projected") -> None:
        """Reads converted weights.

        Args:
            path: folder of `dualdub convert`.
            frame_rate_hz: frames a second; the default is every third of 25.
            vector: "projected", CLIP's image embedding (512 numbers in ViT-B/32), or "token", the class token
                before the projection (768). Neither is normalised.

        Raises:
            UserError: no such folder, weights of another model, or an unknown vector.
        """
        if vector not in ("projected", "token"):
            raise UserError(f"clip(vector={vector!r}): expected 'projected' or 'token'")
        sizes, params = read_converted(pathlib.Path(path), "clip")
        config = ClipConfig(**sizes)
        self._params = jax.device_put(params)
        self._apply = jax.jit(lambda params, x: ClipTower(config).apply({"params": params}, x))
        self._index = 0 if vector == "projected" else 1
        self.dim = config.embedding_dim if vector == "projected" else config.width
        self.frame_spec = FrameSpec(Fraction(frame_rate_hz), config.image_size, "crop")
        source = json.loads((pathlib.Path(path) / "config.json").read_text(encoding="utf-8"))
        self.fingerprint = f"clip-{vector}-{source['sha256'][:16]}"

    @checked
    def extract(self, frames: UInt8[np.ndarray, "n size size 3"]) -> Float[np.ndarray, "n D_video"]:
        """See `FeatureExtractor.extract`."""
        parts = list(self._batches(frames))
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def _batches(self, frames: np.ndarray) -> Iterator[np.ndarray]:
        for first in range(0, len(frames), _BATCH):
            batch = frames[first : first + _BATCH]
            padded = np.pad(batch, ((0, _BATCH - len(batch)), (0, 0), (0, 0), (0, 0)))
            yield np.asarray(self._apply(self._params, padded)[self._index])[: len(batch)]
