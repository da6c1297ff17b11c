"""The report: one page that needs nothing else, with everything on one time axis."""

import base64
import html.parser
import io
import pathlib
import re

import av
import numpy as np
import pytest
import soundfile

from dualdub_jax.dubbing import report
from dualdub_jax.dubbing.dub import DualDub
from tests.fake_engine import FakeEngine
from tests.films import make_film


class _Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]


def data_of(uri: str, kind: str) -> bytes:
    head, _, body = uri.partition(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(body)


def make_page(tmp_path: pathlib.Path, name: str = "film.mp4", out: str = "out.mp4", **request) -> _Page:
    film = make_film(tmp_path / name, num_frames=150, size=(128, 72))
    made = DualDub(FakeEngine(), tmp_path / "my checkpoint").dub(film, **request)
    made.write(tmp_path / out, stems=tmp_path / "stems", report=tmp_path / "report.html")
    return _Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_page_is_self_contained_and_complete(tmp_path):
    page = make_page(tmp_path, script="hello there. what a day.")
    for tag, attrs in page.tags:
        for key in ("src", "href", "poster"):
            assert key not in attrs or attrs[key].startswith("data:"), tag
    assert not re.search(r"https?:|@import|url\(", str(page.tags) + page.text)
    assert page.text.count("hello there what a day") >= 1
    for words in (
        "film.mp4",
        "6.00 s",
        "96000 at 16000 Hz",
        "my checkpoint",
        "generate",
        "mix.wav",
        "192 kB",
    ):
        assert words in page.text


def test_media_in_the_page_are_what_was_written(tmp_path):
    page = make_page(tmp_path, script="hello")
    (video,) = page.all("video")
    assert data_of(video["src"], "video/mp4") == (tmp_path / "out.mp4").read_bytes()
    for player, name in zip(page.all("audio"), ("mix", "speech", "background"), strict=True):
        embedded, rate_hz = soundfile.read(io.BytesIO(data_of(player["src"], "audio/flac")), dtype="int16")
        written, _ = soundfile.read(tmp_path / "stems" / f"{name}.wav", dtype="int16")
        assert rate_hz == 16_000
        np.testing.assert_array_equal(embedded, written)


def test_pictures(tmp_path):
    page = make_page(tmp_path, script="hello")
    images = [attrs["src"] for attrs in page.all("img")]
    strip = [data_of(src, "image/jpeg") for src in images if src.startswith("data:image/jpeg")]
    mels = [data_of(src, "image/png") for src in images if src.startswith("data:image/png")]
    assert len(strip) == 16 and len(mels) == 2 and len(page.all("polygon")) == 2
    with av.open(io.BytesIO(strip[0])) as container:
        picture = next(container.decode(video=0))
        assert (picture.width, picture.height) == (171, 96)
    with av.open(io.BytesIO(mels[0])) as container:
        assert next(container.decode(video=0)).to_ndarray(format="rgb24").shape == (80, 1200, 3)


def test_words_are_at_their_times(tmp_path):
    (tmp_path / "s.srt").write_text("1\n00:00:03,000 --> 00:00:04,500\nhello <b>you</b> & me\n")
    page = make_page(tmp_path, script=str(tmp_path / "s.srt"))
    spans = [attrs for attrs in page.all("span") if "title" in attrs]
    assert [(s["style"], s["title"]) for s in spans] == [("left:50.000%;width:25.000%", "hello you and me")]


def test_silent_track_is_reported_as_silent(tmp_path):
    page = make_page(tmp_path)
    assert "silent: every sample is zero" in page.text and "no speech" in page.text
    assert len(page.all("polygon")) == 1


def test_names_are_text_and_not_markup(tmp_path):
    page = make_page(tmp_path, name="a <script> & $title.mp4")
    assert "a <script> & $title.mp4" in page.text
    assert len(page.all("script")) == 1


@pytest.mark.parametrize(("out", "limit"), [("out.mkv", None), ("out.mp4", 1_000)])
def test_films_that_cannot_be_inside_are_named(tmp_path, monkeypatch, out, limit):
    if limit:
        monkeypatch.setattr(report, "MAX_EMBEDDED_BYTES", limit)
    page = make_page(tmp_path, out=out)
    assert not page.all("video") and out in page.text
    assert ("too large for this page" if limit else "Browsers cannot play") in page.text


@pytest.mark.parametrize("duration_s", [0.5, 3.7, 61.0, 596.0, 7200.0])
def test_ticks_are_few_and_in_order(duration_s):
    places = [float(x) for x in re.findall(r"left:([\d.]+)%", report._ticks(duration_s))]
    assert 3 <= len(places) <= 11 and places[0] == 0 and places == sorted(places) and places[-1] < 98
