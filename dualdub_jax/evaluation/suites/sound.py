"""Tracks from files at the metrics' sample rate."""

import math
import pathlib
from typing import Literal

import numpy as np

from dualdub_jax.dsp.sinc_resample import sinc_resample
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ
from dualdub_jax.media.sound_file import read_channels, read_mono, sound_rate_hz

# How files of several channels and other rates are read: their mean and soxr, or the first channel and the
# resampler of torchaudio, as the public code of the paper's metrics does.
Reading = Literal["mean", "first_channel"]


def read_track(path: pathlib.Path | str, reading: Reading = "mean") -> np.ndarray:
    """Reads all audio of a media file as mono, resampled, the level unchanged.

    Args:
        path: the file.
        reading: of its channels.

    Returns:
        float32[S] at `SAMPLE_RATE_HZ`.

    Raises:
        UserError: the file is missing, empty, not media, or has no audio that can be decoded.
    """
    if reading == "mean":
        return read_mono(path, SAMPLE_RATE_HZ, max_s=math.inf)
    rate_hz = sound_rate_hz(path)
    return sinc_resample(read_channels(path, rate_hz, max_s=math.inf)[:, 0], rate_hz, SAMPLE_RATE_HZ)
