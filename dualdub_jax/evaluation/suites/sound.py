"""Tracks from files at the metrics' sample rate."""

import math
import pathlib

import numpy as np

from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ
from dualdub_jax.media.sound_file import read_mono


def read_track(path: pathlib.Path | str) -> np.ndarray:
    """Reads all audio of a media file: channels mixed to mono, resampled, the level unchanged.

    Args:
        path: the file.

    Returns:
        float32[S] at `SAMPLE_RATE_HZ`.

    Raises:
        UserError: the file is missing, empty, not media, or has no audio that can be decoded.
    """
    return read_mono(path, SAMPLE_RATE_HZ, max_s=math.inf)
