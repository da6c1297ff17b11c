"""Boxes of MP4 and QuickTime files, as far as libavformat does not read or write them: edit lists.

Source: ISO/IEC 14496-12, sections 8.2 (moov, mvhd), 8.3 (tkhd) and 8.6.6 (elst).
"""

import dataclasses
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

_MAX_INDEX_BYTES = 1 << 30
# Boxes that hold boxes and nothing else.
_PARENTS = {b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"}


@dataclasses.dataclass(frozen=True)
class Edit:
    """An entry of an edit list.

    Attributes:
        duration_s: how long it is shown, seconds; 0: to the end.
        media_time: where it begins, in units of the track; -1: an empty edit, nothing is shown.
    """

    duration_s: Fraction
    media_time: int


@dataclasses.dataclass(frozen=True)
class EditList:
    """The edit list of a track.

    Attributes:
        edits: its entries.
        precision_s: seconds of one unit of the durations.
    """

    edits: tuple[Edit, ...]
    precision_s: Fraction

    @property
    def shown_s(self) -> Fraction | None:
        """How long the track is shown, without empty edits; None: to the end of the media."""
        shown = [edit.duration_s for edit in self.edits if edit.media_time >= 0]
        return sum(shown, Fraction(0)) if all(shown) and shown else None


def read_edit_list(file: BinaryIO, track_id: int) -> EditList | None:
    """Reads the edit list of a track; None: it has none, or the file has no readable index."""
    try:
        index = _Index(file)
        track = index.track(track_id)
        start = track and index.find(b"elst", track)
        if not start:
            return None
        precision_s = Fraction(1, index.timescale)
        edits = (Edit(units * precision_s, time) for _, units, time in index.entries(start))
        return EditList(tuple(edits), precision_s)
    except (struct.error, IndexError, ZeroDivisionError):  # damaged
        return None


def end_edit_list(file: BinaryIO, track_id: int, shown_s: Fraction) -> None:
    """Makes a track end after `shown_s`: what follows in the media stays hidden.

    Args:
        file: a finished file with an edit list of the track; open for reading and writing.
        track_id: the track.
        shown_s: seconds from the beginning of its last edit, no more than the edit lasts.

    Raises:
        ValueError: the track has no edit list.
    """
    index = _Index(file)
    track = index.track(track_id)
    start = track and index.find(b"elst", track)
    if start is None:
        raise ValueError(f"track {track_id} has no edit list")
    offset, edit_units, _ = index.entries(start)[-1]
    units = min(edit_units, round(shown_s * index.timescale))
    shift = edit_units - units
    index.write(file, offset, units, index.data[start])
    for kind, parent in ((b"tkhd", track), (b"mvhd", ())):
        begin = index.find(kind, parent)
        version = index.data[begin]
        place = begin + (28 if version else 20) - (4 if kind == b"mvhd" else 0)
        old = int.from_bytes(index.data[place : place + (8 if version else 4)], "big")
        index.write(file, place, old - shift, version)


class _Index:
    """The moov box of a file.

    Attributes:
        data: its content; empty if there is none.
        timescale: units a second of the durations of the presentation.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._position, self.data = _read_index(file)
        self._boxes = dict(_walk(self.data, 0, len(self.data)))
        begin = self.find(b"mvhd", ())
        self.timescale = 1 if begin is None else self._number(begin + (20 if self.data[begin] else 12))

    def track(self, track_id: int) -> tuple | None:
        """The path of a track; None: there is no such track."""
        for path, begin in self._boxes.items():
            if path[-1][0] == b"tkhd" and self._number(begin + (20 if self.data[begin] else 12)) == track_id:
                return path[:-1]
        return None

    def find(self, kind: bytes, parent: tuple) -> int | None:
        """Where the content of a box within a parent begins."""
        within = (
            b for path, b in self._boxes.items() if path[-1][0] == kind and path[: len(parent)] == parent
        )
        return next(within, None)

    def entries(self, start: int) -> list[tuple[int, int, int]]:
        """(offset, duration, media time) of the entries of an elst box."""
        form = ">Qqhh" if self.data[start] else ">Iihh"
        offsets = [start + 8 + i * struct.calcsize(form) for i in range(self._number(start + 4))]
        return [(offset, *struct.unpack_from(form, self.data, offset)[:2]) for offset in offsets]

    def write(self, file: BinaryIO, offset: int, number: int, version: int) -> None:
        """Overwrites a duration of a box of the given version."""
        file.seek(self._position + offset)
        file.write(number.to_bytes(8 if version else 4, "big"))

    def _number(self, offset: int) -> int:
        return int.from_bytes(self.data[offset : offset + 4], "big")


def _read_index(file: BinaryIO) -> tuple[int, bytes]:
    """The content of the moov box and its position; no bytes if there is none."""
    position, size = 0, file.seek(0, 2)
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, skip = int.from_bytes(header[:4], "big"), 8
        if length == 1:
            length, skip = int.from_bytes(header[8:16], "big"), 16
        if length == 0:
            length = size - position
        if length < skip:
            break
        if header[4:8] == b"moov":
            file.seek(position + skip)
            return position + skip, file.read(min(length - skip, _MAX_INDEX_BYTES))
        position += length
    return 0, b""


def _walk(data: bytes, start: int, end: int, path: tuple = ()) -> Iterator[tuple[tuple, int]]:
    """Yields the path and the start of the content of every box; a path has kind and place of each parent."""
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        skip = 8
        if length == 1:
            length, skip = struct.unpack_from(">Q", data, start + 8)[0], 16
        if length == 0:
            length = end - start
        if length < skip:
            return
        here = (*path, (kind, start))
        yield here, start + skip
        if kind in _PARENTS:
            yield from _walk(data, start + skip, min(start + length, end), here)
        start += length
