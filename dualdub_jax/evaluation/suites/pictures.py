"""The film's pictures for metrics that look at them, on the 25 Hz grid."""

import dataclasses
import pathlib

import numpy as np

from dualdub_jax.config import GridConfig
from dualdub_jax.media.container import open_media, video_stream
from dualdub_jax.media.film import read_film

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
    with open_media(path, "video") as container:
        stream = video_stream(container, path)
        size = min(MAX_SIZE, max(stream.codec_context.width, stream.codec_context.height))
    return read_film(path, dataclasses.replace(GridConfig(), frame_size=size)).frames
