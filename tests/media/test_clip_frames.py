"""Clips of records as frames: presentation time, sizes, and every bad input by its message."""

import pathlib
from fractions import Fraction

import numpy as np
import pytest

from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.record_video import decode_frames
from tests.films import frame_level, make_film, make_sound_only
from tests.tiny_dataset import film_bytes


def shown_levels(data: bytes, num_frames: int, start_frame: int = 0, frame_size: int = 32) -> np.ndarray:
    frames = decode_frames(data, FrameSpec(Fraction(25), frame_size), start_frame, num_frames)
    assert frames.shape == (num_frames, frame_size, frame_size, 3)
    assert frames.dtype == np.uint8
    return frames.mean(axis=(1, 2, 3))


def assert_shows(levels: np.ndarray, indices: list[int]) -> None:
    # Levels are 5 apart and the encoder moves them by about 1.
    np.testing.assert_allclose(levels, [frame_level(i) for i in indices], atol=2)


def test_a_film_on_the_grid_comes_frame_by_frame() -> None:
    assert_shows(shown_levels(film_bytes(12), 12), list(range(12)))


def test_b_frames_come_in_the_order_of_presentation() -> None:
    assert_shows(shown_levels(film_bytes(12, num_b_frames=2), 12), list(range(12)))


def test_a_window_begins_at_its_start_frame() -> None:
    assert_shows(shown_levels(film_bytes(12), 5, start_frame=4), [4, 5, 6, 7, 8])


@pytest.mark.parametrize(
    "rate", [Fraction(50), Fraction(30), Fraction(24_000, 1001), Fraction(30_000, 1001), Fraction(10)]
)
def test_another_rate_shows_what_is_on_screen_mid_frame(rate: Fraction) -> None:
    num_grid_frames = 20
    num_film_frames = int(np.ceil(num_grid_frames / 25 * rate)) + 1
    levels = shown_levels(film_bytes(num_film_frames, rate=rate), num_grid_frames)
    assert_shows(levels, [int((t + Fraction(1, 2)) / 25 * rate) for t in range(num_grid_frames)])


def test_variable_rate_and_times_that_do_not_begin_at_zero() -> None:
    times = [Fraction(ms, 1000) for ms in (0, 40, 200, 220, 260)]
    film = film_bytes(5, times=times, start=Fraction(1, 2), time_base=Fraction(1, 1000))
    assert_shows(shown_levels(film, 7), [0, 1, 1, 1, 1, 3, 4])


def test_frames_of_another_size_keep_their_aspect() -> None:
    film = film_bytes(3, size=(64, 32), left=250)
    frames = decode_frames(film, FrameSpec(Fraction(25), 16), 0, 3)
    inside, outside = frames[:, 4:12], frames[:, [0, 1, 2, 3, 12, 13, 14, 15]]
    assert not outside.any()
    assert inside[:, :, :3].min() > 200
    assert 10 < inside[:, :, 6:].min() <= inside[:, :, 6:].max() < 60


def test_the_last_frame_is_held_only_briefly() -> None:
    assert_shows(shown_levels(film_bytes(10), 12), [*range(10), 9, 9])
    with pytest.raises(ValueError, match=r"ends at 0.40 s, but the clip lasts until 0.80 s"):
        shown_levels(film_bytes(10), 20)


def test_bad_films_are_named_by_their_defect(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="cannot be decoded"):
        shown_levels(b"this is no film", 3)
    with pytest.raises(ValueError, match="no video stream"):
        shown_levels(make_sound_only(tmp_path / "sound.mp4").read_bytes(), 3)
    cut = make_film(tmp_path / "film.mp4", num_frames=10).read_bytes()[:-200]
    with pytest.raises(ValueError, match="has no frames"):
        shown_levels(cut, 3)
