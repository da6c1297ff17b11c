"""Uploads that are no films, scripts or voices: a readable message on the page, and nothing is kept."""

import io
import pathlib
import shutil

import numpy as np
import PIL.Image
import pytest
import soundfile

from dualdub_jax.apps.web import limits
from tests.apps.web.requests import request
from tests.apps.web.visitor import as_value, text_of, wait_for
from tests.films import make_film, make_sound_only, truncate


def _tiny(path: pathlib.Path) -> None:
    make_film(path, num_frames=12)


def _cut(path: pathlib.Path) -> None:
    truncate(make_film(path.with_name("whole.mp4"), noise=True), path, 4_000)


def _list_files(path: pathlib.Path) -> None:
    """A playlist, by which the server would read a file of its own for the visitor."""
    film = make_film(path.with_name("secret.ts"), num_frames=50)
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{film}\n#EXT-X-ENDLIST\n")


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("empty.mp4", lambda p: p.touch(), "empty.mp4: the file is empty; give a video file"),
        ("letter.mp4", lambda p: p.write_text("Dear all,\n" * 300), "letter.mp4: not a media file"),
        ("noise.mkv", lambda p: p.write_bytes(bytes(range(256)) * 40), "noise.mkv: not a media file"),
        ("song.mp4", make_sound_only, "song.mp4: no video stream (only sound)"),
        ("brief.mp4", _tiny, "brief.mp4: the video is 0.48 s long"),
        ("cut.mp4", _cut, "cut.mp4: the MP4 file has no index"),
        ("long.mp4", lambda p: make_film(p, num_frames=42, rate=2), "long.mp4: is 0:21 long, and this page"),
        ("pic.png", lambda p: PIL.Image.new("RGB", (64, 48)).save(p), "pic.png: the video is 0.04 s long"),
        ("list.m3u8", _list_files, "list.m3u8: not a media file"),
        ("day.mp4", lambda p: make_film(p, num_frames=11, rate="1/1000"), "day.mp4: is 3:03:20 long"),
    ],
)
def test_a_bad_film_is_explained_and_not_kept(served, visitor, tmp_path, name, make, message):
    make(tmp_path / name)
    (shown,) = visitor.call("take_film", visitor.uploaded(tmp_path / name))
    assert 'role="alert"' in shown and text_of(shown).startswith(message)
    assert str(served.server.root) not in shown
    assert "no film yet" in text_of(visitor.call("generate", *request())[0])
    visitor.call("take_film", None)
    assert not list(served.server.root.rglob(name))


def test_pictures_of_any_size_are_not_decoded(monkeypatch, visitor, tmp_path):
    monkeypatch.setattr(limits, "_MAX_PIXELS", 64 * 48 - 1)
    (shown,) = visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "wide.mp4")))
    assert text_of(shown).startswith("wide.mp4: its pictures are 64 x 48 pixels, more than 8192 x 4320")


def test_a_good_film_after_a_bad_one_is_taken(visitor, tmp_path):
    (tmp_path / "bad.mp4").write_text("no film")
    visitor.call("take_film", visitor.uploaded(tmp_path / "bad.mp4"))
    film = make_film(tmp_path / "good.mp4", size=(66, 48))
    (shown,) = visitor.call("take_film", visitor.uploaded(film))
    assert text_of(shown) == "good.mp4: 2.00 s, 66 by 48, 25 frames/s, h264"


@pytest.mark.parametrize("size", [2_000_001, 2_500_000])
def test_an_upload_over_the_limit_is_refused_while_it_is_received(served, visitor, size):
    answer = visitor.upload("large.mp4", bytes(size))
    assert (
        answer.status_code == 413 and "maximum allowed size" in answer.text
    ) or "at most 2 MB" in answer.text
    assert not list(served.server.root.rglob("large*"))


def test_calls_and_uploads_without_an_end_are_refused(visitor):
    pieces = (b"x" * 1000 for _ in range(10))
    assert visitor.http.post("/gradio_api/upload", content=pieces).status_code == 411
    assert visitor.join("check_script", "a" * 4_000_000).status_code == 413


def test_a_visitor_cannot_fill_the_disk(served, visitor, tmp_path):
    film = make_film(tmp_path / "film.mp4")
    visitor.call("take_film", visitor.uploaded(film))
    stored = [visitor.upload(f"{i}.wav", bytes([i]) * 1_900_000).json()[0] for i in range(9)]
    kept = [pathlib.Path(path).exists() for path in stored]
    assert kept == [False] * 3 + [True] * 6  # the oldest go first, but not the film
    assert "Done." in visitor.call("generate", *request())[0]


def test_an_upload_that_was_given_up_is_removed(served, visitor):
    def pieces():
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="half.mp4"\r\n\r\n' + bytes(
            5000
        )
        raise ConnectionError

    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "1000000"}
    with pytest.raises(ConnectionError):
        visitor.http.post("/gradio_api/upload", content=pieces(), headers=headers)
    visitor.upload("next.wav", b"whole")
    uploads = served.server.sessions.uploads.root
    wait_for(lambda: not any(path.is_file() for path in uploads.iterdir()))


def test_uploads_that_the_disk_has_no_space_for_are_refused(monkeypatch, visitor):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=500_500_000))
    assert visitor.upload("small.wav", bytes(100_000)).status_code == 200
    answer = visitor.upload("large.wav", bytes(600_000))
    assert (answer.status_code, answer.text) == (507, "the server's disk is full; try again later")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.srt", b"\x00\x01\x02\x03" * 200, "bad.srt: is a binary file"),
        ("bad.txt", b"\x89PNG\r\n\x1a\n" + bytes(100), "bad.txt: is a picture, not a script"),
        ("bad.vtt", b"", "bad.vtt: is empty"),
        ("bad.txt", "caf\u00e9 au lait".encode("latin-1"), "bad.txt: not UTF-8"),
    ],
)
def test_a_bad_script_is_explained(served, visitor, name, content, message):
    (stored,) = visitor.upload(name, content).json()
    shown = visitor.call("take_script", as_value(stored))[1]
    assert text_of(shown).startswith(message) and str(served.server.root) not in shown
    assert not list(served.server.root.rglob(name))


def test_a_long_script_is_refused_before_it_is_shown(visitor):
    (stored,) = visitor.upload("long.srt", b"1\n00:00:00,000 --> 00:00:01,000\nhi\n\n" * 6000).json()
    text, shown, *_ = visitor.call("take_script", as_value(stored))
    assert text == {"__type__": "update"}
    assert text_of(shown).startswith("the script has 216,000 letters, and this page takes up to 200,000")


def test_a_script_file_is_shown_for_editing(visitor, tmp_path):
    (tmp_path / "s.srt").write_text("1\n00:00:00,200 --> 00:00:01,800\nlay blue\n")
    text, shown, *_ = visitor.call("take_script", visitor.uploaded(tmp_path / "s.srt"))
    assert "lay blue" in text and shown == ""


@pytest.mark.parametrize(
    ("samples", "message"),
    [(None, "v.wav: not a media file"), (np.zeros(16_000), "v.wav: the voice is silent"),
     (np.zeros(4_000), "v.wav: the voice is 0.25 s long")],
)  # fmt: skip
def test_a_bad_voice_is_explained(visitor, samples, message):
    file = io.BytesIO(b"no sound at all, only words" * 20)
    if samples is not None:
        soundfile.write(file, samples, 16_000, format="WAV")
    (stored,) = visitor.upload("v.wav", file.getvalue()).json()
    (shown,) = visitor.call("take_voice", as_value(stored))
    assert text_of(shown).startswith(message)
