"""When a film begins and ends: clocks that start again, edit lists, late starts, the last picture, damage."""

from fractions import Fraction

import numpy as np
import pytest

from tests.films import frame_level, make_film, read_film, trim, truncate
from tests.media.test_film import shown_levels

TS_WRAP_S = Fraction(2**33, 90_000)
UNEVEN = [Fraction(t, 1000) for t in (0, 40, 500, 750)]


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_parts_of_a_joined_film_are_played_one_after_another(tmp_path, codec):
    parts = [
        make_film(tmp_path / f"{n}.ts", num_frames=n, num_b_frames=b, codec=codec, has_audio=b == 0)
        for n, b in ((20, 0), (15, 0), (16, 2))
    ]
    (tmp_path / "joined.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    film = read_film(tmp_path / "joined.ts")
    assert film.num_samples == 51 * 640 and film.film.num_missing == 0
    assert film.film.warnings == [
        f"{film.film.path}: its timestamps start again 2 times; its 3 parts are played one after another"
    ]
    expected = [frame_level(i) for i in (*range(20), *range(15), *range(16))]
    np.testing.assert_allclose(shown_levels(film.frames), expected, atol=2)


def test_a_joined_mkv_is_played_to_its_end(tmp_path):
    late = make_film(tmp_path / "late.mkv", num_frames=20, start=Fraction(3, 25), num_b_frames=2)
    first = make_film(tmp_path / "first.mkv", num_frames=30, num_b_frames=2)
    (tmp_path / "joined.mkv").write_bytes(first.read_bytes() + late.read_bytes())
    film = read_film(tmp_path / "joined.mkv")
    assert film.num_samples == 50 * 640 and film.film.num_missing == 0
    assert abs(shown_levels(film.frames)[31:] - [frame_level(i) for i in range(1, 20)]).max() < 3


@pytest.mark.parametrize("early_s", [Fraction(2), Fraction(9, 5), Fraction(1)])
def test_the_clock_of_transport_streams_wraps(tmp_path, early_s):
    path = make_film(tmp_path / "w.ts", start=TS_WRAP_S - early_s, num_frames=40, num_b_frames=2)
    film = read_film(path)
    assert film.num_samples == 40 * 640 and not film.film.warnings
    np.testing.assert_allclose(shown_levels(film.frames), [frame_level(i) for i in range(40)], atol=2)


@pytest.mark.parametrize("has_audio", [False, True])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".flv"])
def test_a_late_start_is_no_damage(tmp_path, suffix, has_audio):
    path = make_film(
        tmp_path / f"late{suffix}", start=Fraction(33, 25), num_frames=20, num_b_frames=2, has_audio=has_audio
    )
    film = read_film(path)
    assert film.film.duration_s == Fraction(4, 5) and not film.film.warnings
    np.testing.assert_allclose(shown_levels(film.frames), [frame_level(i) for i in range(20)], atol=2)


@pytest.mark.parametrize("num_b_frames", [0, 2])
@pytest.mark.parametrize(
    ("start_s", "shown_s", "first", "number"),
    [
        ("0", "1.2", 0, 30),  # the end
        ("0", "1.21", 0, 31),
        ("0.48", "1.52", 12, 38),  # the start, at a key frame
        ("0.6", "1.4", 15, 35),
        ("0.2", "0.9", 5, 23),
    ],
)
def test_pictures_outside_of_an_edit_list_are_no_part_of_the_film(
    tmp_path, start_s, shown_s, first, number, num_b_frames
):
    whole = make_film(tmp_path / "whole.mp4", num_frames=50, num_b_frames=num_b_frames)
    film = read_film(trim(whole, tmp_path / "cut.mp4", Fraction(start_s), Fraction(shown_s)))
    assert film.film.duration_s == Fraction(shown_s)
    assert film.film.num_pictures == number and not film.film.warnings
    levels = shown_levels(film.frames)
    assert abs(levels[: number - 1] - [frame_level(first + i) for i in range(number - 1)]).max() <= 2


@pytest.mark.parametrize("num_b_frames", [0, 2])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".flv"])
def test_the_last_picture_stays_as_long_as_the_container_says(tmp_path, suffix, num_b_frames):
    options = {"num_b_frames": num_b_frames, "last_stay": Fraction(2)}
    even = read_film(make_film(tmp_path / f"even{suffix}", num_frames=15, **options))
    assert even.film.duration_s == Fraction(14, 25) + 2
    path = tmp_path / f"uneven{suffix}"
    uneven = make_film(path, num_frames=4, times=UNEVEN, time_base=Fraction(1, 1000), **options)
    film = read_film(uneven)
    assert film.film.duration_s == Fraction(11, 4) and not film.film.warnings


def test_a_last_picture_of_unknown_stay_is_like_the_one_before(tmp_path):
    path = make_film(tmp_path / "film.ts", num_frames=4, times=UNEVEN, time_base=Fraction(1, 1000))
    assert read_film(path).film.duration_s == 1


def test_a_last_picture_of_unknown_stay_waits_for_the_sound_if_the_rate_varies(tmp_path):
    options = {"num_frames": 4, "has_audio": True, "time_base": Fraction(1, 1000), "rate": 4}  # 1 s of sound
    times = [time * Fraction(8, 10) for time in UNEVEN]
    film = read_film(make_film(tmp_path / "film.ts", times=times, **options)).film
    assert Fraction(9, 10) < film.duration_s < Fraction(21, 20)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_pictures_that_a_decoder_drops_without_an_error_are_counted(tmp_path, codec):
    options = {"x265-params": "log-level=none:keyint=25:bframes=0"} if codec == "libx265" else {"g": "25"}
    whole = make_film(tmp_path / "whole.ts", num_frames=60, codec=codec, codec_options=options, noise=True)
    data = whole.read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[len(data) // 4 // 188 * 188 :])
    film = read_film(tmp_path / "cut.ts")
    assert film.num_samples == 35 * 640  # from the next key frame on
    assert 3 <= film.film.num_missing <= 24
    assert (
        f"{film.film.num_missing} of {35 + film.film.num_missing} frames are missing" in film.film.warnings[0]
    )


@pytest.mark.parametrize("suffix", [".mkv", ".flv"])
@pytest.mark.parametrize("damage", ["cut", "hole", "tail"])
def test_missing_pictures_are_no_stay_of_the_last_one(tmp_path, suffix, damage):
    whole = make_film(tmp_path / f"whole{suffix}", noise=True, size=(160, 120))
    size = whole.stat().st_size
    data = bytearray(whole.read_bytes())
    if damage == "cut":
        truncate(whole, tmp_path / f"bad{suffix}", size // 2)
    else:
        end = size if damage == "tail" else size // 2 + size // 10
        data[size // 2 : end] = bytes(end - size // 2)
        (tmp_path / f"bad{suffix}").write_bytes(bytes(data))
    film = read_film(tmp_path / f"bad{suffix}").film
    assert film.num_missing > 2 and "are missing or damaged" in film.warnings[0]
    if damage != "hole":
        assert film.num_missing > 15 and film.duration_s < Fraction(3, 2)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".avi", "mjpeg"),
        (".gif", "gif"),
        (".webm", "libvpx"),
        (".apng", "apng"),
        (".avi", "mpeg4"),
        (".mpg", "mpeg1video"),
    ],
)
def test_other_formats(tmp_path, suffix, codec):
    pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8", "apng": "rgb24"}.get(codec, "yuv420p")
    path = make_film(tmp_path / f"film{suffix}", codec=codec, pix_fmt=pix_fmt, num_frames=20)
    film = read_film(path).film
    assert film.duration_s == Fraction(4, 5) and film.num_pictures == 20 and not film.warnings


def test_avi_repeats_pictures_by_empty_chunks(tmp_path):
    """At 50 frames a second, with every second picture left out: no picture is missing."""
    times = [Fraction(i, 25) for i in range(20)]
    options = {"rate": 50, "times": times, "num_frames": 20, "pix_fmt": "yuvj420p"}
    film = read_film(make_film(tmp_path / "film.avi", codec="mjpeg", **options))
    assert film.film.duration_s == Fraction(39, 50) and not film.film.warnings
    np.testing.assert_allclose(shown_levels(film.frames), [frame_level(i) for i in range(20)], atol=2)
