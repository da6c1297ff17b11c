"""Frames to the features of a frozen extractor, a batch at a time, where none are prepared.

The extractor is a jitted JAX function, so this runs in the main process (in grain's prefetch thread).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dualdub_jax.encoders.base import FeatureExtractor

# Beside the fields of a record: how the frames are decoded of which features are still to be computed.
FRAME_SPEC = "video_feature_frames"


class FeatureFrames(NamedTuple):
    """Frames of a clip whose features are still to be computed.

    Attributes:
        frames: uint8[F, size, size, 3] at the extractor's rate and size.
        rows: int64[T], the frame whose features each grid frame gets.
    """

    frames: np.ndarray
    rows: np.ndarray


class FeatureComputer:
    """Replaces `feature_frames` of a batch by rows of `video_features`.

    Args:
        extractor: None: no batch has frames that wait for it.
    """

    def __init__(self, extractor: FeatureExtractor | None) -> None:
        self._extractor = extractor

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        batch = dict(batch)
        for row, waiting in enumerate(batch.pop("feature_frames")):
            if waiting is not None:
                features = np.asarray(self._extractor.extract(waiting.frames), np.float32)
                batch["video_features"][row, : len(waiting.rows)] = features[waiting.rows]
        return batch
