"""The shots of a film: where its pictures change from one to the next, and the colours of each.

Changes are found by FFmpeg's scene score of small pictures. Pictures are read one by one and none are kept.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np

_CLOCK_HZ = 90_000
_SIZE = (64, 36)
_SCORE = 0.3  # of changes of shot, as of FFmpeg's own example
_COLOUR_BITS = 2  # of each of red, green and blue


class SmallPicture(NamedTuple):
    """A picture, made small.

    Attributes:
        time_s: as given.
        pixels: uint8[36, 64, 3], RGB.
        is_change: whether a shot begins with it; never of the first picture.
    """

    time_s: Fraction
    pixels: np.ndarray
    is_change: bool


@dataclasses.dataclass(frozen=True)
class Shot:
    """A stretch of a film without a cut.

    Attributes:
        start_s: when its first picture appears; the shot lasts up to the next one.
        colours: float32[64], shares of the colours, of all its pictures; the darkest is first.
    """

    start_s: Fraction
    colours: np.ndarray


def small_pictures(pictures: Iterable[tuple[Fraction, av.VideoFrame]]) -> Iterator[SmallPicture]:
    """Finds changes of shot among pictures with rising times, seconds."""
    shape, filters = None, None
    for time_s, picture in pictures:
        if shape != (picture.width, picture.height, picture.format.name):
            shape = picture.width, picture.height, picture.format.name
            filters = _Filters(*shape)
        picture.time_base = Fraction(1, _CLOCK_HZ)
        picture.pts = round(time_s * _CLOCK_HZ)
        yield SmallPicture(time_s, *filters.apply(picture))


def read_shots(pictures: Iterable[tuple[Fraction, av.VideoFrame]]) -> list[Shot]:
    """The shots of all pictures of a film, in order; the first begins with the first picture."""
    shots: list[Shot] = []
    start_s, colours = None, np.zeros(8**_COLOUR_BITS, np.int64)
    for picture in small_pictures(pictures):
        if start_s is None or picture.is_change:
            shots += [] if start_s is None else [_shot(start_s, colours)]
            start_s, colours = picture.time_s, np.zeros_like(colours)
        colours += _count_colours(picture.pixels)
    return shots if start_s is None else [*shots, _shot(start_s, colours)]


def _shot(start_s: Fraction, colours: np.ndarray) -> Shot:
    return Shot(start_s, (colours / colours.sum()).astype(np.float32))


def _count_colours(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(pixels >> (8 - _COLOUR_BITS), -1, 0).astype(np.int64)
    index = (red << 2 * _COLOUR_BITS) | (green << _COLOUR_BITS) | blue
    return np.bincount(index.reshape(-1), minlength=8**_COLOUR_BITS)


class _Filters:
    """Makes pictures of one shape small, and tells which of them begin a shot."""

    def __init__(self, width: int, height: int, pixel_format: str) -> None:
        self._graph = graph = av.filter.Graph()  # kept: its filters do not outlive it
        self._source = graph.add_buffer(
            width=width, height=height, format=pixel_format, time_base=Fraction(1, _CLOCK_HZ)
        )
        scale = graph.add("scale", f"w={_SIZE[0]}:h={_SIZE[1]}:flags=fast_bilinear")
        split, colour = graph.add("split"), graph.add("format", "pix_fmts=rgb24")
        select = graph.add("select", f"gt(scene,{_SCORE})")
        self._small, self._changes = graph.add("buffersink"), graph.add("buffersink")
        self._source.link_to(scale)
        scale.link_to(split)
        split.link_to(colour, 0)
        split.link_to(select, 1)
        colour.link_to(self._small)
        select.link_to(self._changes)
        graph.configure()

    def apply(self, picture: av.VideoFrame) -> tuple[np.ndarray, bool]:
        """The small picture, and whether a shot begins with it."""
        self._source.push(picture)
        pixels = self._small.pull().to_ndarray()
        try:
            self._changes.pull()
        except av.error.BlockingIOError:
            return pixels, False
        return pixels, True
