"""Audio tracks with names and languages, and a subtitle track, in every container."""

import pathlib
from fractions import Fraction

import av
import numpy as np
import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.media.language import check_language, stored_language
from dualdub_jax.media.mux import mux_soundtrack
from dualdub_jax.media.new_tracks import AudioTrack, NewTracks, SubtitleLine, SubtitleTrack
from tests.films import make_film, make_rich_film, read_film, video_packets

LINES = (
    SubtitleLine(Fraction(1, 4), Fraction(3, 5), "Hello there,\nrabbit & {friends}", "Mary Ann"),
    SubtitleLine(Fraction(3, 5), Fraction(7, 10), "a < b"),
)
CONTAINERS = [".mp4", ".m4v", ".mov", ".mkv", ".webm"]
DEFAULT = av.stream.Disposition.default


def tone(hertz: float, seconds: Fraction, rate_hz: int = 16_000) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32)


def write(source: pathlib.Path, out: pathlib.Path, language: str | None, subtitles: bool = True):
    film = read_film(source).film
    audio = [
        AudioTrack(tone(300, film.duration_s), 16_000, "Mix", language),
        AudioTrack(tone(500, film.duration_s), 16_000, "Speech", language, is_default=False),
        AudioTrack(tone(700, film.duration_s), 16_000, "Background", is_default=False),
    ]
    new = NewTracks(audio, SubtitleTrack(LINES, language=language) if subtitles else None)
    with out.open("w+b") as file:
        return mux_soundtrack(film, new, out, file)


def film_for(suffix: str, folder: pathlib.Path) -> pathlib.Path:
    if suffix == ".webm":
        return make_film(folder / "film.webm", codec="libvpx-vp9", num_frames=25)
    return make_film(folder / "film.mp4", num_frames=25)


def title(stream: av.stream.Stream) -> str:
    return stream.metadata.get("title") or stream.metadata.get("name")


def texts(path: pathlib.Path, index: int) -> list[tuple[float, float, str]]:
    """Start, end and text of the packets of a subtitle stream."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams[index]
        for packet in container.demux(stream):
            data = bytes(packet)
            if stream.codec_context.name == "mov_text":
                data = data[2 : 2 + int.from_bytes(data[:2], "big")]
            if data:
                times = packet.pts, packet.pts + packet.duration
                found.append((*(float(time * packet.time_base) for time in times), data.decode()))
    return found


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_tracks_have_names_languages_and_one_default(tmp_path, suffix):
    source, out = film_for(suffix, tmp_path), tmp_path / f"out{suffix}"
    assert write(source, out, "de") == []
    assert video_packets(out) == video_packets(source)
    with av.open(str(out)) as copy:
        assert [stream.type for stream in copy.streams] == ["video", "audio", "audio", "audio", "subtitle"]
        audio, subtitles = list(copy.streams)[1:4], list(copy.streams)[4]
        assert [title(stream) for stream in audio] == ["Mix", "Speech", "Background"]
        code = "deu" if suffix in (".mp4", ".m4v") else "ger"
        assert [stream.metadata.get("language", "und") for stream in audio] == [code, code, "und"]
        assert [bool(stream.disposition & DEFAULT) for stream in audio] == [True, False, False]
        assert subtitles.metadata["language"] == code and title(subtitles) == "Spoken"
    for index, hertz in enumerate((300, 500, 700)):
        with av.open(str(out)) as copy:
            blocks = [frame.to_ndarray() for frame in copy.decode(audio=index)]
            rate_hz = copy.streams.audio[index].rate
        sound = np.concatenate(blocks, axis=1)[0, : rate_hz // 2]
        assert abs(np.abs(np.fft.rfft(sound)).argmax() * rate_hz / len(sound) - hertz) < 5


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_subtitles_are_shown_when_they_are_due(tmp_path, suffix):
    write(film_for(suffix, tmp_path), tmp_path / f"out{suffix}", None)
    first, second = texts(tmp_path / f"out{suffix}", 4)
    assert first[:2] == (0.25, 0.6) and second[:2] == (0.6, 0.7)
    ampersand, less = ("&amp;", "&lt;") if suffix == ".webm" else ("&", "<")
    assert first[2] == f"Mary Ann: Hello there,\nrabbit {ampersand} (friends)" and second[2] == f"a {less} b"


@pytest.mark.parametrize("out", ["out.mp4", "out.mkv", "out.mov"])
@pytest.mark.parametrize("name", ["film.mkv", "film.mp4"])
def test_the_films_own_subtitles_and_chapters_stay(tmp_path, name, out):
    source, out = make_rich_film(tmp_path / name), tmp_path / out
    write(source, out, "en")
    with av.open(str(out)) as copy:
        captions = [stream for stream in copy.streams if stream.type == "subtitle"]
        assert [stream.metadata["language"] for stream in captions] == ["eng", "eng"]
        assert title(captions[0]) == "Spoken" and len(copy.chapters()) == 2
        index = captions[1].index
    assert [text for _, _, text in texts(out, index)] == ["Hello there"]


@pytest.mark.parametrize(
    ("name", "tag", "mp4", "matroska"),
    [
        ("en", "en", "eng", "eng"),
        ("eng", "en", "eng", "eng"),
        ("ger", "de", "deu", "ger"),
        ("deu", "de", "deu", "ger"),
        ("pt-BR", "pt-BR", "por", "por"),
        ("zh_Hant", "zh-Hant", "zho", "chi"),
        ("zxx", "zxx", "zxx", "zxx"),
    ],
)
def test_languages(name, tag, mp4, matroska):
    assert check_language(name) == tag
    assert (stored_language(tag, "mp4"), stored_language(tag, "matroska")) == (mp4, matroska)


@pytest.mark.parametrize("name", ["", "xx", "english", "e", "12", "en-", "de-QQQQQQQQQQQ", "q!"])
def test_languages_that_are_none(name):
    with pytest.raises(UserError, match=r"language \(--language\) is '.*': give a code of ISO 639"):
        check_language(name)


def test_a_language_that_a_container_does_not_keep_is_named(tmp_path):
    source = film_for(".mov", tmp_path)
    assert write(source, tmp_path / "out.mov", "nv", subtitles=False) == [
        f"{tmp_path}/out.mov: MOV does not keep the language nv of the new tracks"
    ]
    assert write(source, tmp_path / "out.mp4", "nv", subtitles=False) == []
