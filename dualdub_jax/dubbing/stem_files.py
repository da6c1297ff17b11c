"""The stems as the user gets them: WAV files of 16 bits at the rate of the mix, or resampled.

Between the samples a waveform may be higher than at them, so that resampled stems may exceed full scale;
all of them are then lowered by one gain, and remain stems of their mix. Source: our choice.
"""

import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from dualdub_jax.dsp.blocks import BLOCK_SAMPLES, fit_blocks, resample_blocks
from dualdub_jax.dubbing.stems import guard, peak_of
from dualdub_jax.media.outputs import Outputs
from dualdub_jax.media.track import Track, WavWriter

_FULL_SCALE = 32767 / 32768


def write_stem_files(
    tracks: Mapping[str, Track], rate_hz: int, num_samples: int, folder: pathlib.Path, outputs: Outputs
) -> list[str]:
    """Writes `NAME.wav` for each track.

    Args:
        tracks: finished, by name, of one rate.
        rate_hz: of the files.
        num_samples: length of the files, as exact as `Film.num_samples`.
        folder: that exists.
        outputs: of the job.

    Returns:
        What the user should know, one sentence each.

    Raises:
        UserError: a file cannot be written.
    """
    is_resampled = any(track.sample_rate_hz != rate_hz for track in tracks.values())
    gain = 1.0
    if is_resampled:
        peaks = [
            peak_of(block) for track in tracks.values() for block in _resampled(track, rate_hz, num_samples)
        ]
        gain = guard(max(peaks), _FULL_SCALE)
    for name, track in tracks.items():
        with outputs.open(folder / f"{name}.wav") as file:
            if not is_resampled:
                copy_track(track, file)
                continue
            with WavWriter(file, rate_hz, track.num_channels) as writer:
                for block in _resampled(track, rate_hz, num_samples):
                    writer.write(gain * block)
    if gain == 1.0:
        return []
    return [f"{folder}: at {rate_hz} Hz the stems would clip; all are {-20 * np.log10(gain):.2f} dB softer"]


def copy_track(track: Track, file: BinaryIO) -> None:
    """Copies a finished track's WAV file."""
    with track.path.open("rb") as source:
        shutil.copyfileobj(source, file)


def _resampled(track: Track, rate_hz: int, num_samples: int) -> Iterator[np.ndarray]:
    blocks = (track[first : first + BLOCK_SAMPLES] for first in range(0, len(track), BLOCK_SAMPLES))
    resampled = resample_blocks(blocks, track.sample_rate_hz, rate_hz, track.num_channels)
    return fit_blocks(resampled, num_samples, track.num_channels)
