"""How a player turns and mirrors pictures: the display matrix of the container or the codec.

A display matrix maps stored to shown positions. Only the eight that turn by right angles, with or without a
mirror, can be shown pixel for pixel; any other is taken for the nearest of them, as players do.
"""

from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type


class Orientation(NamedTuple):
    """What is done to a stored picture before it is shown, in this order.

    Attributes:
        is_transposed: rows become columns.
        is_mirrored: left and right are exchanged.
        is_flipped: top and bottom are exchanged.
    """

    is_transposed: bool = False
    is_mirrored: bool = False
    is_flipped: bool = False

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Shows a stored picture [height, width, ...]; a view of it."""
        if self.is_transposed:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.is_flipped else 1, :: -1 if self.is_mirrored else 1]


_UPRIGHT = Orientation()


def orientation_of(picture: av.VideoFrame) -> Orientation:
    """The orientation that the file's metadata specifies for a decoded picture."""
    data = picture.side_data.get(Type.DISPLAYMATRIX) if picture.side_data else None
    if data is None:
        return _UPRIGHT
    # x' = a x + c y, y' = b x + d y
    a, b, _, c, d = np.frombuffer(bytes(data), "=i4", 5).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)
