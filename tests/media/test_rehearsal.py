"""What a copy keeps of a film in each container, and which losses are warnings or errors."""

import io
import pathlib
import re
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.media.film_writer import OutputClock
from dualdub_jax.media.mux import mux_soundtrack
from dualdub_jax.media.rehearsal import check_container
from tests.films import ReadFilm, make_film, make_rich_film, read_film, trim, video_packets
from tests.media.test_mux import silence

HELD = {
    ".mp4": ("mjpeg", "libx264", "libvpx-vp9", "ffv1", "mpeg2video"),
    ".mov": ("mjpeg", "libx264", "prores_ks", "mpeg2video"),
    ".mkv": ("mjpeg", "libx264", "libvpx-vp9", "ffv1", "prores_ks", "mpeg2video"),
    ".webm": ("libvpx-vp9",),
}
X265 = {"codec": "libx265", "codec_options": {"x265-params": "log-level=none:bframes=3"}}
PRORES = {"codec": "prores_ks", "codec_options": {"profile": "4444"}, "pix_fmt": "yuva444p10le"}
HDR = (
    "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:range=limited:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
)


def copy_film(source: pathlib.Path, out: pathlib.Path) -> tuple[ReadFilm, list[str]]:
    """Copies a film with a silent mix; returns its inventory and the warnings of the copy."""
    film = read_film(source)
    with out.open("w+b") as file:
        losses = mux_soundtrack(film.film, silence(film.num_samples), out, file)
    return film, losses


def stream_of(path: pathlib.Path) -> dict[str, Any]:
    """What a container says of its video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        return {
            "tag": context.codec_tag,
            "aspect": stream.sample_aspect_ratio,
            "pix_fmt": context.pix_fmt,
            "colours": (context.color_primaries, context.color_trc, context.colorspace, context.color_range),
            "rate": stream.average_rate,
            "metadata": {key.lower(): value for key, value in stream.metadata.items()},
        }


@pytest.mark.parametrize(
    ("name", "options", "outs"),
    [
        ("phone.mov", X265 | {"codec_tag": "hvc1"}, (".mov", ".mp4")),
        ("other.mp4", X265 | {"codec_tag": "hev1"}, (".mov", ".mp4")),
        ("graded.mov", PRORES | {"codec_tag": "ap4h"}, (".mov",)),
    ],
)
def test_the_codec_tag_survives(tmp_path, name, options, outs):
    source = make_film(tmp_path / name, num_frames=15, **options)
    for out in outs:
        _, losses = copy_film(source, tmp_path / f"out{out}")
        assert losses == [] and stream_of(tmp_path / f"out{out}")["tag"] == options["codec_tag"]


@pytest.mark.parametrize("name", ["film.mkv", "film.ts"])
def test_hevc_of_other_containers_plays_on_apples_players(tmp_path, name):
    copy_film(make_film(tmp_path / name, num_frames=15, **X265), tmp_path / "out.mp4")
    assert stream_of(tmp_path / "out.mp4")["tag"] == "hvc1"


@pytest.mark.parametrize("out", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *(("a.mov", "mjpeg"), ("a.mp4", "libx264"), ("a.mp4", "libvpx-vp9"), ("a.mkv", "ffv1")),
        *(("a.mov", "prores_ks"), ("a.ts", "mpeg2video")),
    ],
)
def test_the_shape_of_pixels_survives(tmp_path, name, codec, out):
    pix_fmt = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}.get(codec)
    options = {"pixel_aspect": Fraction(64, 45), "size": (90, 64), "pix_fmt": pix_fmt}
    source = make_film(tmp_path / name, codec=codec, num_frames=15, **options)
    film = read_film(source).film
    if codec not in HELD[out]:
        with pytest.raises(UserError, match=f"{out[1:].upper()} cannot hold"):
            check_container(film, tmp_path / f"out{out}")
        return
    copy_film(source, tmp_path / f"out{out}")
    aspects = [stream_of(path)["aspect"] or 1 for path in (source, tmp_path / f"out{out}")]
    assert abs(aspects[1] - aspects[0]) * 90 < 1  # Matroska has whole pixels
    assert read_film(tmp_path / f"out{out}").film.size == film.size


def test_transparency_survives_where_it_can(tmp_path):
    options = {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"}
    source = make_film(tmp_path / "film.webm", num_frames=15, **options)
    for out in ("out.webm", "out.mkv"):
        assert copy_film(source, tmp_path / out)[1] == []
        with av.open(str(tmp_path / out)) as copy:
            stream = copy.streams.video[0]
            packets = [packet for packet in copy.demux(stream) if packet.size]
        assert stream_of(tmp_path / out)["metadata"]["alpha_mode"] == "1"
        assert all(packet.has_sidedata("matroska_block_additional") for packet in packets)
    with pytest.raises(
        UserError, match=r"MP4 cannot keep the transparency of the video in .*; try -o out.webm"
    ):
        check_container(read_film(source).film, tmp_path / "out.mp4")


@pytest.mark.parametrize("out", [".mp4", ".mov", ".mkv"])
def test_colours_survive(tmp_path, out):
    source = make_film(
        tmp_path / "hdr.mkv",
        num_frames=15,
        codec="libx265",
        pix_fmt="yuv420p10le",
        codec_options={"x265-params": HDR},
    )
    assert stream_of(source)["colours"][:3] == (9, 16, 9)
    _, losses = copy_film(source, tmp_path / f"out{out}")
    assert losses == [] and stream_of(tmp_path / f"out{out}")["colours"] == stream_of(source)["colours"]


@pytest.mark.parametrize("out", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_orientation_survives(tmp_path, rotation, is_mirrored, out):
    options = {"rotation": rotation, "is_mirrored": is_mirrored, "left": 250, "size": (96, 64)}
    film, losses = copy_film(
        make_film(tmp_path / "film.mp4", num_frames=15, **options), tmp_path / f"out{out}"
    )
    assert losses == []
    np.testing.assert_array_equal(read_film(tmp_path / f"out{out}").frames, film.frames)


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30_000, 1001)])
def test_an_mkv_of_constant_rate_says_its_rate(tmp_path, rate):
    copy_film(make_film(tmp_path / "film.mp4", rate=rate, num_frames=20), tmp_path / "out.mkv")
    data = (tmp_path / "out.mkv").read_bytes()
    place = data.index(bytes.fromhex("23e383")) + 3  # DefaultDuration, nanoseconds
    length = data[place] & 0x7F
    nanoseconds = int.from_bytes(data[place + 1 : place + 1 + length], "big")
    assert abs(nanoseconds - 10**9 / rate) <= 1


@pytest.mark.parametrize("name", ["film.mkv", "film.mp4", "film.mov"])
@pytest.mark.parametrize("out", [".mp4", ".mov", ".mkv"])
def test_titles_chapters_and_streams_are_carried_or_told(tmp_path, name, out):
    source = make_rich_film(tmp_path / name)
    _, losses = copy_film(source, tmp_path / f"out{out}")
    kinds = {loss.split(" does not keep the ")[1].split(" of ")[0] for loss in losses}
    expected = set()
    if name == "film.mkv" and out != ".mkv":
        expected.add("attachment (letters.ttf)")
    if name == "film.mp4" and out == ".mov":
        expected.add("cover picture (mjpeg)")
    assert kinds == expected
    with av.open(str(tmp_path / f"out{out}")) as copy:
        chapters = [
            (chapter["start"] * chapter["time_base"], chapter["metadata"]["title"])
            for chapter in copy.chapters()
        ]
        assert chapters == [(0, "Part 0"), (Fraction(2, 5), "Part 1")]
        tags = {key.lower(): value for key, value in copy.metadata.items()}
        assert (tags["title"], tags["artist"]) == ("The film", "Somebody")
        assert tags["creation_time"].startswith("2020-01-02T03:04:05")
        subtitles = copy.streams.subtitles[0]
        packets = [p for p in copy.demux(subtitles) if b"Hello there" in bytes(p)]
        assert [(p.pts * p.time_base, p.duration * p.time_base) for p in packets] == [
            (Fraction(1, 5), Fraction(3, 10))
        ]
        assert subtitles.language == "eng"


def test_subtitles_and_chapters_move_with_a_trimmed_start(tmp_path):
    source = make_rich_film(tmp_path / "film.mkv")
    late = tmp_path / "late.mkv"
    with av.open(str(source)) as given, av.open(str(late), "w") as target:
        streams = {
            s.index: target.add_stream_from_template(s, opaque=True)
            for s in given.streams
            if s.type != "attachment"
        }
        target.set_chapters(
            [
                chapter | {"start": chapter["start"] + 2 * 10**9, "end": chapter["end"] + 2 * 10**9}
                for chapter in given.chapters()
            ]
        )
        for packet in given.demux():
            if packet.size:
                packet.pts += 2000
                packet.dts = None if packet.dts is None else packet.dts + 2000
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    copy_film(late, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as copy:
        assert [chapter["start"] for chapter in copy.chapters()] == [0, 400_000_000]
        assert [p.pts for p in copy.demux(copy.streams.subtitles[0]) if p.size] == [200]


def test_replaced_sound_is_told_only_if_there_was_any(tmp_path):
    silent, loud = make_film(tmp_path / "silent.mp4"), make_film(tmp_path / "loud.mp4", has_audio=True)
    assert check_container(read_film(silent).film, tmp_path / "out.mp4").losses == []
    assert check_container(read_film(loud).film, tmp_path / "out.mp4").losses == [
        f"{tmp_path}/out.mp4: the soundtrack replaces the sound of {loud} (1 stream)"
    ]


def test_tags_that_a_container_lacks_are_named(tmp_path):
    source = tmp_path / "film.mkv"
    with (
        av.open(str(make_film(tmp_path / "plain.mkv", num_frames=15))) as given,
        av.open(str(source), "w") as target,
    ):
        stream = target.add_stream_from_template(given.streams.video[0], opaque=True)
        target.metadata.update(DIRECTOR="A. Person", title="Film")
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    losses = check_container(read_film(source).film, tmp_path / "out.mp4").losses
    assert losses == [f"{tmp_path}/out.mp4: MP4 does not keep the tags DIRECTOR of {source}"]
    assert check_container(read_film(source).film, tmp_path / "out.mkv").losses == []


@pytest.mark.parametrize("num_b_frames", [0, 2])
@pytest.mark.parametrize(
    ("start_s", "shown_s"), [("0", "1.2"), ("0.6", "1.4"), ("0.2", "0.9"), ("0.48", "1")]
)
@pytest.mark.parametrize("out", [".mp4", ".mov", ".mkv"])
def test_hidden_pictures_stay_hidden_or_the_container_is_refused(
    tmp_path, start_s, shown_s, num_b_frames, out
):
    whole = make_film(tmp_path / "whole.mp4", num_frames=50, num_b_frames=num_b_frames)
    source = trim(whole, tmp_path / "film.mp4", Fraction(start_s), Fraction(shown_s))
    try:
        film, losses = copy_film(source, tmp_path / f"out{out}")
    except UserError as error:
        assert out == ".mkv" and (num_b_frames or start_s not in ("0", "0.48"))
        assert re.search(
            r"MKV cannot hide the \d+ pictures? outside of the edit list in .*; try -o out.mp4", str(error)
        )
        return
    copy = read_film(tmp_path / f"out{out}")
    assert losses == [] and copy.film.start_pts == 0
    assert copy.film.num_pictures == film.film.num_pictures
    assert abs(copy.film.duration_s - film.film.duration_s) <= Fraction(1, 1000)
    np.testing.assert_array_equal(copy.frames, film.frames)


def test_pictures_before_the_first_good_one_are_left_out(tmp_path):
    whole = make_film(tmp_path / "whole.ts", num_frames=60, noise=True, num_b_frames=2)
    data = whole.read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[len(data) // 4 // 188 * 188 :])
    film, _ = copy_film(tmp_path / "cut.ts", tmp_path / "out.mkv")
    copy = read_film(tmp_path / "out.mkv")
    assert film.film.num_missing > 0 and copy.film.num_missing == 0 and copy.film.start_pts == 0
    np.testing.assert_array_equal(copy.frames, film.frames)


@pytest.mark.parametrize("out", [".mp4", ".mkv"])
def test_a_joined_film_is_copied_on_one_clock(tmp_path, out):
    part = make_film(tmp_path / "part.ts", num_frames=20, num_b_frames=2, has_audio=True)
    (tmp_path / "joined.ts").write_bytes(part.read_bytes() * 2)
    film, _ = copy_film(tmp_path / "joined.ts", tmp_path / f"out{out}")
    copy = read_film(tmp_path / f"out{out}")
    assert abs(copy.film.duration_s - Fraction(8, 5)) <= Fraction(1, 1000) and not copy.film.warnings
    np.testing.assert_array_equal(copy.frames, film.frames)


@pytest.mark.parametrize("out", [".mp4", ".mkv"])
@pytest.mark.parametrize("num_b_frames", [0, 2])
def test_the_last_picture_stays_as_long_in_the_copy(tmp_path, num_b_frames, out):
    times = [Fraction(t, 1000) for t in (0, 40, 500, 750)]
    options = {"times": times, "time_base": Fraction(1, 1000), "last_stay": Fraction(2)}
    source = make_film(tmp_path / "film.mp4", num_frames=4, num_b_frames=num_b_frames, **options)
    copy_film(source, tmp_path / f"out{out}")
    assert read_film(tmp_path / f"out{out}").film.duration_s == Fraction(11, 4)


@pytest.mark.parametrize(
    ("name", "pix_fmt", "out", "mend"),
    [
        ("raw.avi", "yuv420p", ".mov", "convert the video to H.264 first"),
        ("raw.avi", "yuv420p", ".mp4", "convert the video to H.264 first"),
        ("raw.mov", "uyvy422", ".mp4", "try -o out.mov"),
    ],
)
def test_raw_video_goes_only_where_it_can_be_decoded(tmp_path, name, pix_fmt, out, mend):
    film = read_film(make_film(tmp_path / name, codec="rawvideo", pix_fmt=pix_fmt, num_frames=15)).film
    message = rf"out{out}: {out[1:].upper()} cannot hold rawvideo video as it is in .*{name}; {mend}"
    with pytest.raises(UserError, match=message):
        check_container(film, tmp_path / f"out{out}")


@pytest.mark.parametrize(
    ("late", "message"), [(45, "would show pictures up to 0.040 s early"), (5, "cannot keep the")]
)
def test_lost_times_of_pictures_are_no_success(tmp_path, monkeypatch, late, message):
    """Whatever a muxer does to the times: what it wrote is read again, its beginning before the work."""
    move = OutputClock.move

    def move_late(self, packet, index):
        move(self, packet, index)
        packet.pts += 512 * (index == late)

    film = read_film(make_film(tmp_path / "film.mp4", num_b_frames=2))
    monkeypatch.setattr(OutputClock, "move", move_late)
    with pytest.raises(UserError, match=message):
        mux_soundtrack(film.film, silence(film.num_samples), tmp_path / "out.mp4", io.BytesIO())


def test_packets_are_copied_from_any_format(tmp_path):
    for name, codec, out in (
        ("a.avi", "mjpeg", ".mov"),
        ("a.mkv", "ffv1", ".mkv"),
        ("a.mpg", "mpeg1video", ".mp4"),
    ):
        pix_fmt = "yuvj420p" if codec == "mjpeg" else None
        source = make_film(tmp_path / name, codec=codec, num_frames=15, pix_fmt=pix_fmt)
        copy_film(source, tmp_path / f"out{out}")
        assert video_packets(tmp_path / f"out{out}") == video_packets(source)
