"""A frozen feature extractor: it and a config are all that features take; and an encoder of both rows."""

from fractions import Fraction

import flax.linen as nn
import jax
import numpy as np

from dualdub_jax.config import ModelConfig
from dualdub_jax.encoders.features import FeatureVideoEncoder
from dualdub_jax.encoders.pixels import PixelVideoEncoder
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.types import Batch


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


class PixelsAndFeatures(nn.Module):
    """`encoders.base.VideoEncoder`: features beside pixels."""

    config: ModelConfig
    inputs = ("video", "video_features")

    @nn.compact
    def __call__(self, batch: Batch) -> jax.Array:
        features = FeatureVideoEncoder(self.config, name="features")(batch)
        return features + PixelVideoEncoder(self.config, name="pixels")(batch)
