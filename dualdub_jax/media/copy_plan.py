"""Which packets of a film a copy needs, and which of their pictures must stay hidden.

An edit list hides pictures that others are predicted from, and so does damage at a film's beginning. What
nothing shown depends on is left out of a copy. What remains hidden can only be copied to a container that has
edit lists itself.
"""

import dataclasses
from array import array
from fractions import Fraction

import av
import numpy as np

from dualdub_jax.media.clock import FilmClock
from dualdub_jax.media.container import holds_picture
from dualdub_jax.media.film import Film

_UNKNOWN = np.iinfo(np.int64).min


@dataclasses.dataclass(frozen=True)
class CopyPlan:
    """The packets of a film's video by their place in the file, counted from 0.

    Attributes:
        first: the first one to copy.
        last: the last one to copy.
        dropped: those between that nothing shown depends on.
        first_shown: the first one with a picture that is shown.
        num_hidden: copied pictures that must not be shown.
        num_hidden_within: those of them that would lie between shown ones.
        last_pts: presentation time of the last shown picture, units of the film's time base.
        shown_pts: int64[N], presentation times of the shown pictures in the order of decoding, likewise.
        dts: int64[M], decoding times of all packets of the video, if those of the film cannot be copied.
        rate: pictures a second, if it is constant.
    """

    first: int
    last: int
    dropped: frozenset[int]
    first_shown: int
    num_hidden: int
    num_hidden_within: int
    last_pts: int
    shown_pts: np.ndarray
    dts: np.ndarray | None
    rate: Fraction | None

    @classmethod
    def make(
        cls, container: av.container.InputContainer, stream: av.video.stream.VideoStream, film: Film
    ) -> "CopyPlan":
        """Reads the packets of an open film; afterwards the container is at its end."""
        times, decoding_times, keys = array("q"), array("q"), array("b")
        marks, pictures = array("b"), array("b")
        codec = stream.codec_context.codec.canonical_name
        for packet in FilmClock(container, stream).packets():
            times.append(packet.pts)
            decoding_times.append(_UNKNOWN if packet.dts is None else packet.dts)
            keys.append(packet.is_keyframe)
            marks.append(packet.is_discard)
            pictures.append(holds_picture(packet, codec))
        pts = np.frombuffer(times, np.int64)
        end_pts = (film.start_pts * film.time_base + film.duration_s) / film.time_base
        is_shown = (np.frombuffer(marks, np.int8) == 0) & (pts >= film.start_pts) & (pts < float(end_pts))
        shown = np.flatnonzero(is_shown)
        entries = np.flatnonzero(np.frombuffer(keys, np.int8)[: shown[0] + 1])
        first, last = int(entries[-1]) if entries.size else 0, int(shown[-1])
        hidden = first + np.flatnonzero(~is_shown[first : last + 1])
        dropped: frozenset[int] = frozenset()
        if is_shown[first]:
            # Earlier pictures that follow it are predicted from those before it, which are left out.
            dropped = frozenset(hidden[pts[hidden] < film.start_pts].tolist())
        copied = np.setdiff1d(np.arange(first, last + 1), list(dropped))
        dts = np.frombuffer(decoding_times, np.int64)
        if (
            (np.diff(dts[copied]) <= 0).any()
            or (dts[copied] > pts[copied]).any()
            or dts[copied[0]] == _UNKNOWN
        ):
            dts = pts.copy()
            dts[copied] = _decoding_times(pts[copied])
        else:
            dts = None
        return cls(
            first=first,
            last=last,
            dropped=dropped,
            first_shown=int(shown[0]),
            num_hidden=len(hidden) - len(dropped),
            num_hidden_within=int(np.sum((pts[hidden] >= film.start_pts) & (pts[hidden] < float(end_pts)))),
            last_pts=int(pts[shown].max()),
            shown_pts=pts[shown[np.frombuffer(pictures, np.int8)[shown] != 0]],
            dts=dts,
            rate=_constant_rate(stream, np.sort(pts[shown])),
        )

    def __contains__(self, index: int) -> bool:
        """Whether a packet is copied."""
        return self.first <= index <= self.last and index not in self.dropped


def _constant_rate(stream: av.video.stream.VideoStream, pts: np.ndarray) -> Fraction | None:
    """The rate of pictures at rising times; None: it varies."""
    stays = np.diff(pts)
    if not stays.size or stays.max() - stays.min() > 1:
        return None
    stay_s = Fraction(int(pts[-1] - pts[0]), len(stays)) * stream.time_base
    rates = (rate for rate in (stream.average_rate, stream.guessed_rate) if rate)
    return next((rate for rate in rates if abs(1 / rate - stay_s) <= stream.time_base), None)


def _decoding_times(pts: np.ndarray) -> np.ndarray:
    """Rising decoding times, none later than its picture is shown: int64[N], like `pts`."""
    steps = np.arange(len(pts))
    rising = np.maximum.accumulate(np.sort(pts) - steps) + steps  # even where two pictures have one time
    return rising - (rising - pts).max()
