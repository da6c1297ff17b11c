"""A frozen feature extractor: this file and a config are all that features take."""

from fractions import Fraction

import numpy as np

from dualdub_jax.media.frames import FrameSpec


class MeanColours:
    """`encoders.base.FeatureExtractor`: mean colour of both halves of every third frame."""

    frame_spec = FrameSpec(Fraction(25, 3), 8, "crop")
    dim = 6

    def __init__(self, gain: float = 1.0) -> None:
        self._gain = gain
        self.fingerprint = f"mean-colours-{gain:g}"

    def extract(self, frames: np.ndarray) -> np.ndarray:
        halves = np.stack([frames[:, :, :4], frames[:, :, 4:]], axis=1)
        return (self._gain * halves.mean((2, 3)) / 255.0).reshape(len(frames), 6).astype(np.float32)
