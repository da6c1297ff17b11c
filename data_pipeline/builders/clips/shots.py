"""Where the pictures of a film change from one shot to the next."""

from fractions import Fraction
from pathlib import Path

import av

from dualdub_jax.data_pipeline.builders.clips.small_video import pictures_from
from dualdub_jax.media.timing import Timing

_CLOCK_HZ = 90_000
_FILTERS = (("scale", "w=64:h=36:flags=fast_bilinear"), ("select", "gt(scene,0.3)"))


def shot_changes_s(path: Path, timing: Timing, start_s: Fraction, end_s: Fraction) -> list[Fraction]:
    """Times of the first pictures of shots, by FFmpeg's scene score; pictures are decoded, none are kept.

    Args:
        path: the film.
        timing: of its video stream.
        start_s: seconds after the film's first picture.
        end_s: likewise.

    Returns:
        Seconds after the film's first picture, rising, all between the two.
    """
    found: list[Fraction] = []
    graph, shape = None, None
    for time_s, picture in pictures_from(path, timing, start_s):
        if time_s >= end_s:
            break
        frame = picture.frame
        if graph is None or shape != (frame.width, frame.height, frame.format.name):
            shape = (frame.width, frame.height, frame.format.name)
            graph = _graph(*shape)
        frame.time_base = Fraction(1, _CLOCK_HZ)
        frame.pts = round(time_s * _CLOCK_HZ)
        graph.push(frame)
        while True:
            try:
                selected = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break
            found.append(Fraction(selected.pts, _CLOCK_HZ))
    return [time_s for time_s in found if time_s > start_s]


def _graph(width: int, height: int, pixel_format: str) -> av.filter.Graph:
    graph = av.filter.Graph()
    nodes = [
        graph.add_buffer(width=width, height=height, format=pixel_format, time_base=Fraction(1, _CLOCK_HZ)),
        *(graph.add(name, options) for name, options in _FILTERS),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes)
    graph.configure()
    return graph
