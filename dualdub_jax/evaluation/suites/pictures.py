"""The film's pictures for metrics that look at them, on the 25 Hz grid."""

import pathlib
from fractions import Fraction

import numpy as np

from dualdub_jax.evaluation.contracts.clips import FRAME_RATE_HZ, SAMPLE_RATE_HZ
from dualdub_jax.media.film import FilmReader
from dualdub_jax.media.frames import FrameSpec

MAX_SIZE = 512  # pixels of the longer side; faces in larger pictures gain nothing


def load_frames(path: pathlib.Path) -> np.ndarray:
    """Decodes a film by the rules of `dualdub dub`, at its own size up to `MAX_SIZE`.

    Args:
        path: the film.

    Returns:
        uint8[T, size, size, 3]; a film that is not square is set on black in the middle.

    Raises:
        UserError: it cannot be read.
    """
    with FilmReader(path) as reader:
        codec = reader.stream.codec_context
        spec = FrameSpec(Fraction(FRAME_RATE_HZ), min(MAX_SIZE, max(codec.width, codec.height)))
        num_frames = reader.film.num_frames(spec.frame_rate, SAMPLE_RATE_HZ)
        return np.concatenate(list(reader.blocks(spec, num_frames)))


def count_samples(path: pathlib.Path) -> int:
    """Samples of a film's tracks at `SAMPLE_RATE_HZ`; no picture after the first is decoded.

    Raises:
        UserError: it cannot be read.
    """
    with FilmReader(path) as reader:
        return reader.film.num_samples(SAMPLE_RATE_HZ)
