"""A film as a strip of pictures."""

import io

import av
import numpy as np
from av.video.reformatter import Interpolation

_SEAM = 2  # pixels, white


def film_strip(video: bytes, columns: int = 12, height: int = 128) -> np.ndarray:
    """Pictures spread over a film, in white seams, side by side.

    Args:
        video: an encoded film.
        columns: how many pictures.
        height: of each, pixels.

    Returns:
        uint8[height + 2, width, 3].
    """
    with av.open(io.BytesIO(video)) as container:
        pictures = [
            picture.reformat(
                width=max(1, round(picture.width * height / picture.height)),
                height=height,
                format="rgb24",
                interpolation=Interpolation.POINT,
            ).to_ndarray()
            for picture in container.decode(video=0)
        ]
    indices = np.linspace(0, len(pictures) - 1, columns).round().astype(int)
    seam = ((0, _SEAM), (0, _SEAM), (0, 0))
    return np.concatenate([np.pad(pictures[i], seam, constant_values=255) for i in indices], axis=1)
