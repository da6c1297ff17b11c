"""Where the pictures of a film change from one shot to the next."""

from fractions import Fraction
from pathlib import Path

import av

from dualdub_jax.media.container import open_media, video_stream
from dualdub_jax.media.pictures import PictureDecoder
from dualdub_jax.media.timing import Timing

_CLOCK_HZ = 90_000
_FILTERS = (("scale", "w=64:h=36:flags=fast_bilinear"), ("select", "gt(scene,0.3)"))


def shot_changes_s(path: Path, timing: Timing) -> list[Fraction]:
    """Times of the first pictures of shots, by FFmpeg's scene score; the film is decoded, none of it kept.

    Args:
        path: the film.
        timing: of its video stream.

    Returns:
        Seconds after the film's first picture, rising, without that picture.
    """
    found: list[Fraction] = []
    graph: av.filter.Graph | None = None
    with open_media(path, "video") as container:
        stream = video_stream(container, path)
        decoder = PictureDecoder(stream, timing)
        stream.codec_context.thread_count = 1  # films are read side by side already
        shape = None
        for time_s, picture in decoder.decode(container):
            if graph is None or shape != (picture.width, picture.height, picture.format.name):
                shape = (picture.width, picture.height, picture.format.name)
                graph = _graph(*shape)
            picture.time_base = Fraction(1, _CLOCK_HZ)
            picture.pts = round((time_s - timing.start_s) * _CLOCK_HZ)
            graph.push(picture)
            while True:
                try:
                    selected = graph.pull()
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
                found.append(Fraction(selected.pts, _CLOCK_HZ))
    return [time_s for time_s in found if time_s > 0]


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
