"""Matroska files: whole or damaged, and the display size that PyAV cannot write."""

import io
import zlib
from fractions import Fraction

import av
import pytest

from dualdub_jax.media.matroska_elements import ROOM, is_whole, read_duration_s, set_display_size
from tests.films import make_film

_TRACKS = bytes.fromhex("1654ae6b")


def make_mkv(size: tuple[int, int], title: str) -> io.BytesIO:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.metadata["title"] = title
        container.mux(video.encode(av.VideoFrame(*size, "yuv420p")))
        container.mux(video.encode(None))
    return file


@pytest.mark.parametrize("size", [(16, 16), (90, 64), (300, 200), (1920, 1080)])
@pytest.mark.parametrize(("before", "after"), [(ROOM, None), (f"Angle 1{ROOM}", "Angle 1")])
def test_the_display_size_is_written(size, before, after):
    file = make_mkv(size, before)
    length = len(file.getvalue())
    set_display_size(file, Fraction(4, 3))
    assert len(file.getvalue()) == length and ROOM.encode() not in file.getvalue()
    file.seek(0)
    assert is_whole(file)
    file.seek(0)
    with av.open(file, "r") as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(round(size[0] * 4 / 3), size[0])
        assert stream.metadata.get("title") == after
    data = file.getvalue()
    start = data.index(_TRACKS, data.index(_TRACKS) + 4) + 4  # the first one is in the table of contents
    size = 9 - data[start].bit_length()
    length = int.from_bytes(data[start : start + size], "big") & ((1 << 7 * size) - 1)
    content = data[start + size : start + size + length]
    assert content[:2] == bytes.fromhex("bf84")
    assert zlib.crc32(content[6:]) == int.from_bytes(content[2:6], "little")


def test_a_file_without_room_is_refused():
    with pytest.raises(ValueError, match="no track has room for a display size"):
        set_display_size(make_mkv((16, 16), "Angle 1"), Fraction(4, 3))


def test_damage_is_found_and_durations_are_read(tmp_path):
    data = make_film(tmp_path / "film.mkv", noise=True).read_bytes()
    assert read_duration_s(io.BytesIO(data)) == 2 and is_whole(io.BytesIO(data))
    assert not is_whole(io.BytesIO(data[:-100]))
    middle = len(data) // 2
    assert not is_whole(io.BytesIO(data[:middle] + bytes(len(data) // 8) + data[middle + len(data) // 8 :]))
    assert read_duration_s(io.BytesIO(b"no film at all")) is None and not is_whole(io.BytesIO(b"no film"))
