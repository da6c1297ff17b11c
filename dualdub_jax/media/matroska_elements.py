"""Elements of Matroska files, as far as libavformat or PyAV do not read or write them.

Whether the file is whole; and the display size of a track, which libavformat writes only from a field that
PyAV cannot set. Source: RFC 8794 (EBML), RFC 9559 (Matroska).
"""

import struct
import zlib
from fractions import Fraction
from typing import BinaryIO

_EBML, _SEGMENT, _TRACKS, _TRACK, _VIDEO = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_NAME, _CRC, _VOID = 0x536E, 0xBF, 0xEC
_SCALE, _DURATION = 0x2AD7B1, 0x4489
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_CLUSTER, _CUES, _CHAPTERS, _TAGS, _SEEK_HEAD, _INFO, _ATTACHMENTS = (
    *(0x1F43B675, 0x1C53BB6B, 0x1043A770, 0x1254C367),
    *(0x114D9B74, 0x1549A966, 0x1941A469),
)
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xB0, 0xBA
_CRC_SIZE = 6  # bytes
# What lies at the top of a file, in a segment and in a cluster.
_KNOWN = {_EBML, _CUES, _CHAPTERS, _TAGS, _SEEK_HEAD, _INFO, _ATTACHMENTS, _TRACKS, _CRC, _VOID}
_KNOWN |= {0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF}  # time, silent tracks, position, size, blocks
# The name of a track while it is written: room for its display size.
ROOM = "room for a display size"
_ROOM = ROOM.encode()


def is_whole(file: BinaryIO) -> bool:
    """Whether the elements of a file, down to its blocks, follow each other without damage up to its end.

    A cluster of a live recording does not say how long it is; such a file counts as whole.
    """
    size = file.seek(0, 2)
    position = 0
    while position < size:
        header = _read_header(file, position)
        if header is None:
            return False
        kind, start, length = header
        if kind in (_SEGMENT, _CLUSTER) and (length is None or start + length <= size):
            position = start  # its elements are walked
            continue
        if length is None or kind not in _KNOWN:
            return False
        position = start + length
    return position == size


def read_duration_s(file: BinaryIO) -> Fraction | None:
    """The duration in the header, seconds; None: it has none."""
    for start, length in _find(file, _INFO):
        file.seek(start)
        elements = dict(_parse(file.read(length)))
        data = elements.get(_DURATION, b"")
        if len(data) in (4, 8):
            units = struct.unpack(">f" if len(data) == 4 else ">d", data)[0]
            if units > 0:
                return Fraction(units) * int.from_bytes(elements.get(_SCALE, b"\x0f\x42\x40"), "big") / 10**9
    return None


def set_display_size(file: BinaryIO, pixel_aspect: Fraction) -> None:
    """Writes the display size of the track whose name ends with `ROOM`, and takes that off its name.

    Args:
        file: a finished file; open for reading and writing.
        pixel_aspect: width of a pixel over its height.

    Raises:
        ValueError: there is no such track.
    """
    for start, length in _find(file, _TRACKS):
        file.seek(start)
        elements = _parse(file.read(length))
        if not any(kind == _TRACK and _ROOM in data for kind, data in elements):
            continue
        new = b""
        for kind, data in elements:
            if kind == _TRACK and _ROOM in data:
                data = _with_display_size(data, pixel_aspect)
            if kind != _CRC:
                new += _element(kind, data)
        has_crc = any(kind == _CRC for kind, _ in elements)
        new += _void(length - len(new) - _CRC_SIZE * has_crc)
        if has_crc:
            new = _element(_CRC, zlib.crc32(new).to_bytes(4, "little")) + new
        file.seek(start)
        file.write(new)
        return
    raise ValueError("no track has room for a display size")


def _with_display_size(track: bytes, pixel_aspect: Fraction) -> bytes:
    new = b""
    for kind, data in _parse(track):
        if kind == _VIDEO:
            data = _sized(dict(_parse(data)), pixel_aspect)
        elif kind == _NAME:
            data = data.removesuffix(_ROOM)
        if kind != _VOID and (kind != _NAME or data):
            new += _element(kind, data)
    return new


def _sized(video: dict[int, bytes], pixel_aspect: Fraction) -> bytes:
    # Of two views side by side, the muxer has written the display size of one.
    width, height = (
        int.from_bytes(video.get(display, video[stored]), "big")
        for display, stored in ((_DISPLAY_WIDTH, _PIXEL_WIDTH), (_DISPLAY_HEIGHT, _PIXEL_HEIGHT))
    )
    video.pop(_DISPLAY_UNIT, None)  # the muxer says "unknown"
    video[_DISPLAY_WIDTH] = _unsigned(round(width * pixel_aspect))
    video[_DISPLAY_HEIGHT] = _unsigned(height)
    return b"".join(_element(*item) for item in video.items())


def _unsigned(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _find(file: BinaryIO, wanted: int) -> list[tuple[int, int]]:
    """Start and length of the contents of all elements of a kind before the first cluster."""
    size, position, found = file.seek(0, 2), 0, []
    while position < size:
        header = _read_header(file, position)
        if header is None or header[0] == _CLUSTER:
            break
        kind, start, length = header
        if kind == _SEGMENT:
            position = start
            continue
        if length is None:
            break
        if kind == wanted:
            found.append((start, length))
        position = start + length
    return found


def _read_header(file: BinaryIO, position: int) -> tuple[int, int, int | None] | None:
    """Kind, start of the content and length (None: unknown) of an element; None: there is none."""
    file.seek(position)
    return _parse_header(file.read(12), position)


def _parse_header(data: bytes, position: int = 0) -> tuple[int, int, int | None] | None:
    if not data or not data[0] or data[0] < 0x10:
        return None
    kind_size = 9 - data[0].bit_length()
    rest = data[kind_size:]
    if not rest or not rest[0]:
        return None
    length_size = 9 - rest[0].bit_length()
    if len(rest) < length_size:
        return None
    length = int.from_bytes(rest[:length_size], "big") & ((1 << 7 * length_size) - 1)
    is_unknown = length == (1 << 7 * length_size) - 1
    start = position + kind_size + length_size
    return int.from_bytes(data[:kind_size], "big"), start, None if is_unknown else length


def _parse(data: bytes) -> list[tuple[int, bytes]]:
    """(kind, content) of the elements in `data`."""
    elements, position = [], 0
    while position < len(data):
        header = _parse_header(data[position : position + 12], position)
        if header is None or header[2] is None:
            raise ValueError("elements of a track cannot be read")
        kind, start, length = header
        elements.append((kind, data[start : start + length]))
        position = start + length
    return elements


def _element(kind: int, data: bytes) -> bytes:
    # A length of eight bytes is the rule for long elements and allowed for all; short ones save room.
    length = (
        (len(data) | 0x80).to_bytes(1, "big") if len(data) < 127 else (len(data) | 1 << 28).to_bytes(4, "big")
    )
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + length + data


def _void(size: int) -> bytes:
    """An element without meaning of exactly `size` bytes."""
    if size == 0:
        return b""
    if size < 2:
        raise ValueError("no room for an element")
    if size < 129:
        return bytes([_VOID, 0x80 | (size - 2)]) + bytes(size - 2)
    return bytes([_VOID]) + (size - 5 | 1 << 28).to_bytes(4, "big") + bytes(size - 5)
