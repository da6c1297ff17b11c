"""Opening media: each kind of wrong file has its own error."""

import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.media.container import open_media
from tests.films import make_film, truncate


def test_opens_names_that_look_like_protocols(tmp_path, monkeypatch):
    make_film(tmp_path / "take 2.mp4", num_frames=2).rename(tmp_path / "http:take#2%20.mp4")
    monkeypatch.chdir(tmp_path)
    with open_media("http:take#2%20.mp4", "video") as container:
        assert container.streams.video


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.mp4", None, "gone.mp4: no such file; give the path of a video file"),
        ("empty.mp4", b"", "empty.mp4: the file is empty; give a video file with something in it"),
        (
            "letter.mp4",
            b"Dear all,\nthis is no film.\n" * 90,
            "letter.mp4: not a media file; give a video file",
        ),
        ("notes.txt", b"Dear all,\nthis is no film.\n" * 90, "notes.txt: not a media file but text"),
        ("noise.mkv", bytes(range(256)) * 40, "noise.mkv: not a media file"),
    ],
)
def test_wrong_files(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        open_media(tmp_path / name, "video")
    assert message in str(error.value)


def test_folder(tmp_path):
    with pytest.raises(UserError, match="is a folder; give a video file"):
        open_media(tmp_path, "video")


def test_mp4_without_its_index(tmp_path):
    whole = make_film(tmp_path / "whole.mp4", noise=True)  # the index is at the end
    cut = truncate(whole, tmp_path / "cut.mp4", 4000)
    with pytest.raises(
        UserError, match=r"cut.mp4: the MP4 file has no index \(no moov box\): it was cut off"
    ):
        open_media(cut, "video")


def test_playlists_do_not_reach_the_network(tmp_path):
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(UserError, match=r"list.m3u8: not a media file"):
        open_media(playlist, "video")
