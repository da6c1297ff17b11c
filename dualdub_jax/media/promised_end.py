"""When a video ends according to its container, apart from its packets."""

import contextlib
import dataclasses
import pathlib
from fractions import Fraction
from typing import BinaryIO

import av

from dualdub_jax.media.container import is_matroska, is_mp4
from dualdub_jax.media.matroska_elements import is_whole, read_duration_s
from dualdub_jax.media.mp4_boxes import read_edit_list

_MILLISECOND_S = Fraction(1, 1000)
_ROUNDING_S = 2 * _MILLISECOND_S
_FLV_TAGS = {8, 9, 18}  # sound, video, script data


@dataclasses.dataclass(frozen=True)
class Promise:
    """The end of a video according to its container.

    Attributes:
        end_s: seconds since the container's zero; None: it does not say.
        precision_s: how exactly.
        is_final: what comes later is not shown, and the packets' durations do not matter.
        is_broken: the file is cut off or damaged; pictures are missing up to `end_s` and in gaps.
    """

    end_s: Fraction | None = None
    precision_s: Fraction = Fraction(0)
    is_final: bool = False
    is_broken: bool = False


def find_promise(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    first_dts: int,
    read_until_s: Fraction,
    has_gaps: bool,
) -> Promise:
    """Reads the promise of an open file.

    Args:
        container: the file.
        stream: its video stream.
        first_dts: decoding time of the first packet, in units of the stream's time base.
        read_until_s: when the last packet of any stream ends, seconds.
        has_gaps: some pictures stay longer than others. Gaps, and a promise beyond `read_until_s`, are worth
            a search for damage.
    """
    if is_mp4(container):
        return _mp4_promise(container, stream)
    if is_matroska(container):
        return _matroska_promise(container, stream, read_until_s, has_gaps)
    if container.format.name == "flv" and container.duration:
        end_s = first_dts * stream.time_base + Fraction(container.duration, av.time_base)
        with _opened(container) as file:
            is_suspect = has_gaps or end_s > read_until_s + _ROUNDING_S
            is_broken = is_suspect and not _are_flv_tags_whole(file)
        is_its_own = is_broken or _is_alone(container, stream)
        return Promise(end_s if is_its_own else None, _ROUNDING_S, is_broken=is_broken)
    if stream.frames and stream.duration:
        return Promise(((stream.start_time or 0) + stream.duration) * stream.time_base)
    return Promise()


def _mp4_promise(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> Promise:
    with _opened(container) as file:
        edits = read_edit_list(file, stream.id)
    if edits is not None and edits.shown_s is not None:
        empty_s = sum((edit.duration_s for edit in edits.edits if edit.media_time < 0), Fraction(0))
        return Promise(empty_s + edits.shown_s, edits.precision_s, is_final=True)
    if not stream.frames or not stream.duration:  # in fragments, whose packets say it all
        return Promise()
    return Promise(((stream.start_time or 0) + stream.duration) * stream.time_base, is_final=True)


def _matroska_promise(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    read_until_s: Fraction,
    has_gaps: bool,
) -> Promise:
    with _opened(container) as file:
        duration_s = read_duration_s(file)
        is_suspect = has_gaps or (duration_s or 0) > read_until_s + _ROUNDING_S
        is_broken = is_suspect and not is_whole(file)
    tag_s = _duration_tag(stream)
    if duration_s is None or is_broken:
        return Promise(duration_s, _MILLISECOND_S, is_broken=is_broken)
    if (
        tag_s is not None and tag_s <= duration_s + _MILLISECOND_S
    ):  # else of a film that this one was cut from
        return Promise(tag_s, _MILLISECOND_S)
    return Promise(duration_s if _is_alone(container, stream) else None, _MILLISECOND_S)


def _is_alone(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> bool:
    """Whether no other stream can last longer than the video."""
    kinds = ("audio", "video", "subtitle")
    return not any(other.type in kinds and other.index != stream.index for other in container.streams)


def _duration_tag(stream: av.video.stream.VideoStream) -> Fraction | None:
    """The end of the track, seconds, from a tag as 00:01:02.030000000."""
    text = next((value for key, value in stream.metadata.items() if key.upper().startswith("DURATION")), "")
    try:
        hours, minutes, seconds = (Fraction(part) for part in text.split(":"))
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _are_flv_tags_whole(file: BinaryIO) -> bool:
    """Whether tags follow each other up to the file's end: each is followed by its size."""
    size = file.seek(0, 2)
    file.seek(5)
    position = int.from_bytes(file.read(4), "big") + 4
    while position + 11 <= size:
        file.seek(position)
        header = file.read(4)
        length = 11 + int.from_bytes(header[1:], "big")
        file.seek(position + length)
        if header[0] & 0x1F not in _FLV_TAGS or int.from_bytes(file.read(4), "big") != length:
            return False
        position += length + 4
    return position == size


def _opened(container: av.container.InputContainer) -> contextlib.AbstractContextManager[BinaryIO]:
    """The bytes of an open container."""
    if container.file is not None:  # PyAV's wrapper of a file object
        return contextlib.nullcontext(container.file.file)
    return pathlib.Path(container.name.removeprefix("file:")).open("rb")
