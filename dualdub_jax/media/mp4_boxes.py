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
    found = _find_edit_list(file, track_id)
    if found is None:
        return None
    index, _, start, timescale = found
    precision_s = Fraction(1, timescale)
    return EditList(
        tuple(Edit(duration * precision_s, time) for _, duration, time in _entries(index, start)), precision_s
    )


def end_edit_list(file: BinaryIO, track_id: int, shown_s: Fraction) -> None:
    """Makes a track end after `shown_s`: what follows in the media stays hidden.

    Args:
        file: a finished file with an edit list of the track; open for reading and writing.
        track_id: the track.
        shown_s: seconds from the beginning of its last edit, no more than the edit lasts.

    Raises:
        ValueError: the track has no edit list.
    """
    found = _find_edit_list(file, track_id)
    if found is None:
        raise ValueError(f"track {track_id} has no edit list")
    index, position, start, timescale = found
    offset, duration, _ = _entries(index, start)[-1]
    size = 8 if index[start] else 4
    file.seek(position + offset)
    file.write(min(duration, round(shown_s * timescale)).to_bytes(size, "big"))


def _find_edit_list(file: BinaryIO, track_id: int) -> tuple[bytes, int, int, int] | None:
    """The index, its position in the file, where the edit list begins in it, units a second of durations."""
    position, index = _read_index(file)
    try:
        found = {path: (start, end) for path, start, end in _walk(index, 0, len(index))}
        header = next(start for path, (start, _) in found.items() if path[-1][0] == b"mvhd")
        timescale = struct.unpack_from(">I", index, header + (20 if index[header] else 12))[0]
        for path, (start, _) in found.items():
            if path[-1][0] == b"tkhd":
                its_id = struct.unpack_from(">I", index, start + (20 if index[start] else 12))[0]
                if its_id == track_id:
                    track = path[:-1]
                    for other, (begin, _) in found.items():
                        if other[: len(track)] == track and other[-1][0] == b"elst":
                            return index, position, begin, timescale
    except (StopIteration, struct.error, IndexError):
        pass
    return None


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


def _walk(data: bytes, start: int, end: int, path: tuple = ()) -> Iterator[tuple[tuple, int, int]]:
    """Yields (path, start, end) of the content of every box; a path has the kind and place of each parent."""
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
        yield here, start + skip, min(start + length, end)
        if kind in _PARENTS:
            yield from _walk(data, start + skip, min(start + length, end), here)
        start += length


def _entries(data: bytes, start: int) -> list[tuple[int, int, int]]:
    """(offset, duration, media time) of the entries of an elst box."""
    form = ">Qqhh" if data[start] else ">Iihh"
    count = struct.unpack_from(">I", data, start + 4)[0]
    offsets = [start + 8 + i * struct.calcsize(form) for i in range(count)]
    return [(offset, *struct.unpack_from(form, data, offset)[:2]) for offset in offsets]
