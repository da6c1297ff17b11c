"""Subtitles of a film in its copy: as they are where the container holds them, else as its own text."""

import pathlib
from fractions import Fraction

import av
import numpy as np
import pytest

from dualdub_jax.media.mux import mux_soundtrack
from dualdub_jax.media.subtitle_encoder import SubtitleEncoder
from tests.films import frame_level, read_film
from tests.media.test_mux import silence
from tests.media.test_new_tracks import texts

EVENT = r"{\i1}Hello{\i0} & {\pos(3,4)}you\Nthere"
# What the packets hold, as the container has it.
AS_TEXT = {"mov_text": "Hello & you\nthere", "subrip": "<i>Hello</i> & you\nthere"}
AS_WEBVTT = "<i>Hello</i> &amp; you\nthere"


def film_with(path: pathlib.Path, codec: str) -> pathlib.Path:
    """A film of one second with a subtitle from 0.2 s to 0.5 s; a Matroska film has a font as well."""
    with av.open(str(path), "w") as container:
        is_mp4 = path.suffix in (".mp4", ".mov")
        video = container.add_stream("libx264" if is_mp4 else "libvpx-vp9", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        encoder = SubtitleEncoder(container, codec)
        encoder.stream.metadata["language"] = "eng"
        if path.suffix == ".mkv":
            container.add_attachment("letters.ttf", "font/ttf", b"a font")
        container.start_encoding()
        container.mux(encoder.encode(EVENT, Fraction(1, 5), Fraction(1, 2)))
        for index in range(25):
            picture = np.full((48, 64, 3), frame_level(index), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "out", "kept_as", "text"),
    [
        ("film.mkv", "ass", "out.mkv", "ass", None),
        ("film.mkv", "ass", "out.mp4", "mov_text", AS_TEXT["mov_text"]),
        ("film.mkv", "ass", "out.webm", "webvtt", AS_WEBVTT),
        ("film.mkv", "subrip", "out.mkv", "subrip", AS_TEXT["subrip"]),
        ("film.mkv", "subrip", "out.mp4", "mov_text", AS_TEXT["mov_text"]),
        ("film.mkv", "subrip", "out.webm", "webvtt", AS_WEBVTT),
        ("film.webm", "webvtt", "out.webm", "webvtt", AS_WEBVTT),
        ("film.webm", "webvtt", "out.mkv", "webvtt", AS_WEBVTT),
        ("film.webm", "webvtt", "out.mp4", "mov_text", AS_TEXT["mov_text"]),
        ("film.mp4", "mov_text", "out.mkv", "subrip", AS_TEXT["subrip"]),
        ("film.mp4", "mov_text", "out.mov", "mov_text", AS_TEXT["mov_text"]),
    ],
)
def test_subtitles_keep_their_words_times_and_language(tmp_path, name, codec, out, kept_as, text):
    source, out = film_with(tmp_path / name, codec), tmp_path / out
    film = read_film(source)
    with out.open("w+b") as file:
        losses = mux_soundtrack(film.film, silence(film.num_samples), out, file)
    with av.open(str(out)) as copy:
        (stream,) = copy.streams.subtitles
        assert stream.codec_context.codec.canonical_name == kept_as
        assert stream.metadata["language"] == "eng"
        index = stream.index
    ((start_s, end_s, shown),) = texts(out, index)
    assert (start_s, end_s) == (0.2, 0.5)
    assert shown == text if text is not None else EVENT in shown
    container = out.suffix[1:].upper()
    expected = []
    if codec == "ass" and kept_as != "ass":
        loss = "the styles of the subtitles (ass, eng)"
        expected.append(f"{out}: {container} does not keep {loss} of {source}")
    if source.suffix == ".mkv" and out.suffix != ".mkv":
        expected.append(f"{out}: {container} does not keep the attachment (letters.ttf) of {source}")
    assert losses == expected
