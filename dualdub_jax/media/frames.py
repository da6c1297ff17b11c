"""Frames of a given size and rate: which picture a frame shows, and how it fits into the frame.

Rules, all of them our choice:

- **Time**: frame t shows the picture that is on screen in the middle of the frame, at (t + 1/2) /
  frame_rate seconds after the first picture appears. Constant, variable, low and high frame rates are
  therefore one case, and a picture is at most half a frame early or late.
- **Shape**: pictures are turned and mirrored as the file asks and shown with square pixels. "letterbox"
  keeps the aspect ratio and centres the picture on black: squashing would change the shape of faces and
  mouths, and cropping would lose what sounds at the edges. "crop" scales the shorter side and cuts out the
  centre, as CLIP (Radford et al., 2021); "stretch" scales both sides, as SigLIP (Zhai et al., 2023).
- **Filter**: "area" averages areas while pictures are converted to RGB, which is fast. "bilinear" and
  "bicubic" are Pillow's, with antialiasing, of the RGB picture: the preprocessing of public image encoders,
  to the last bit of a pixel.
"""

import dataclasses
import os
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from dualdub_jax.media.orientation import Orientation, orientation_of

# Of a decoder and of a scaler: more cost memory and gain nothing, and libav would start one for every core.
MAX_THREADS = min(8, os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True)
class FrameSpec:
    """The frames that a model or a metric takes.

    Attributes:
        frame_rate: frames a second, exactly.
        frame_size: height and width, pixels.
        fit: "letterbox", "crop" or "stretch".
        filter: "area", "bilinear" or "bicubic".
    """

    frame_rate: Fraction
    frame_size: int
    fit: Literal["letterbox", "crop", "stretch"] = "letterbox"
    filter: Literal["area", "bilinear", "bicubic"] = "area"


def frames_before(position: Fraction, count: int = 1) -> int:
    """The number of frames whose middle lies before a time.

    Args:
        position: the time in frames, seconds * frame_rate; or that of one tick of a clock.
        count: of the ticks.
    """
    # In whole numbers, so that a time exactly in the middle of a frame is decided alike everywhere.
    numerator, denominator = count * position.numerator, position.denominator
    return -((denominator - 2 * numerator) // (2 * denominator))


def display_size(picture: av.VideoFrame, pixel_aspect: Fraction) -> tuple[int, int]:
    """Width and height as a player shows them: square pixels, turned."""
    return _shown_size(picture.width, picture.height, orientation_of(picture), pixel_aspect)


def _shown_size(width: int, height: int, orientation: Orientation, aspect: Fraction) -> tuple[int, int]:
    width = max(1, round(width * aspect))
    return (height, width) if orientation.is_transposed else (width, height)


class Scaler:
    """Scales, turns and mirrors pictures by averaging areas.

    It is kept from picture to picture: to set up the scaler of libswscale costs more than to use it.
    """

    def __init__(self, num_threads: int = MAX_THREADS) -> None:
        """Chooses the number of threads of libswscale."""
        self._reformatter = VideoReformatter()
        self._options = {"interpolation": Interpolation.AREA, "threads": num_threads}

    def scale(self, picture: av.VideoFrame, width: int, height: int) -> np.ndarray:
        """uint8[height, width, 3], RGB, turned and mirrored as the file asks."""
        orientation = orientation_of(picture)
        if orientation.is_transposed:
            width, height = height, width
        small = self._reformatter.reformat(picture, width, height, "rgb24", **self._options)
        return orientation.apply(small.to_ndarray())


class AntialiasedScaler:
    """As `Scaler`, by Pillow's resampling of the RGB picture: rows first, then columns, rounded in between.

    Pillow has chosen the order by the picture's shape since version 13; the public encoders were trained on
    pictures of earlier ones. In two calls, all versions give the same.

    Args:
        name: "bilinear" or "bicubic".
        num_threads: of the conversion to RGB.
    """

    def __init__(self, name: str, num_threads: int = MAX_THREADS) -> None:
        self._filter = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[name]
        self._reformatter, self._num_threads = VideoReformatter(), num_threads

    def scale(self, picture: av.VideoFrame, width: int, height: int) -> np.ndarray:
        """uint8[height, width, 3], RGB, turned and mirrored as the file asks."""
        whole = self._reformatter.reformat(picture, format="rgb24", threads=self._num_threads)
        # Turned first: rows and columns are rounded one after the other.
        turned = np.ascontiguousarray(orientation_of(picture).apply(whole.to_ndarray()))
        rows = Image.fromarray(turned).resize((width, turned.shape[0]), self._filter)
        return np.asarray(rows.resize((width, height), self._filter))


class FrameFitter:
    """Turns pictures of one stream into the frames of a spec."""

    def __init__(self, spec: FrameSpec, pixel_aspect: Fraction, num_threads: int = MAX_THREADS) -> None:
        """Sets up the scaler.

        Args:
            spec: the frames' size and fit.
            pixel_aspect: width of a pixel over its height.
            num_threads: of the scaler.
        """
        self._spec, self._pixel_aspect = spec, pixel_aspect
        is_area = spec.filter == "area"
        self._scaler = Scaler(num_threads) if is_area else AntialiasedScaler(spec.filter, num_threads)
        # Pictures of one shape, almost all of a stream, are scaled to one size.
        self._shape: tuple[int, int, Orientation] | None = None
        self._scaled = (0, 0)

    def fit(self, picture: av.VideoFrame) -> np.ndarray:
        """uint8[frame_size, frame_size, 3], RGB."""
        shape = (picture.width, picture.height, orientation_of(picture))
        if shape != self._shape:
            self._shape = shape
            self._scaled = _scaled_size(self._spec, *_shown_size(*shape, self._pixel_aspect))
        size, (width, height) = self._spec.frame_size, self._scaled
        scaled = self._scaler.scale(picture, width, height)
        if width == height == size:
            return scaled
        top, left = abs(height - size) // 2, abs(width - size) // 2
        if self._spec.fit == "crop":
            return scaled[top : top + size, left : left + size]
        frame = np.zeros((size, size, 3), np.uint8)
        frame[top : top + height, left : left + width] = scaled
        return frame


def _scaled_size(spec: FrameSpec, width: int, height: int) -> tuple[int, int]:
    """Width and height of what a picture of a given size on screen is scaled to."""
    size = spec.frame_size
    if spec.fit == "stretch":
        return size, size
    if spec.fit == "crop":  # the longer side is rounded down, as `transformers` does
        return size * width // min(width, height), size * height // min(width, height)
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
