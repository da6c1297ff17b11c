"""Which picture a frame shows, and how pictures fit into frames."""

from fractions import Fraction

import numpy as np
import pytest

from dualdub_jax.media.frames import FrameSpec, frames_before
from tests.films import frame_level, make_film, read_film


@pytest.mark.parametrize(
    ("position", "number"),
    [("0", 0), ("1/2", 0), ("51/100", 1), ("1", 1), ("3/2", 1), ("8/5", 2), ("199/2", 99), ("100", 100)],
)
def test_frames_before_a_time_are_those_whose_middle_is(position, number):
    assert frames_before(Fraction(position)) == number


@pytest.mark.parametrize("rate", [Fraction(25, 2), Fraction(40, 3), Fraction(40), Fraction(86_133, 2_000)])
def test_any_frame_rate(tmp_path, rate):
    path = make_film(tmp_path / "film.mp4", num_frames=40, size=(64, 64))
    frames = read_film(path, FrameSpec(rate, 16)).frames
    expected = [min(39, int((t + Fraction(1, 2)) / rate * 25)) for t in range(len(frames))]
    assert len(frames) == -(-Fraction(40, 25) * rate // 1)
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), [frame_level(i) for i in expected], atol=2)


def test_crop_keeps_the_middle_of_the_longer_side(tmp_path):
    path = make_film(tmp_path / "wide.mp4", size=(128, 64), num_frames=15, left=250)
    frame = read_film(path, FrameSpec(Fraction(25), 32, "crop")).frames[0].mean(axis=2)
    # The left quarter of the picture ends where the middle square begins.
    assert frame.shape == (32, 32) and frame[:, 4:].max() < 60
    path = make_film(tmp_path / "nearly.mp4", size=(80, 64), num_frames=15, left=250)
    frame = read_film(path, FrameSpec(Fraction(25), 32, "crop")).frames[0].mean(axis=2)
    bright = np.flatnonzero(frame[16] > 150)
    assert (bright[0], bright[-1]) == (0, 5)  # 10 of 40 columns, of which 4 are cut off


def test_crop_follows_rotation(tmp_path):
    path = make_film(tmp_path / "turned.mp4", size=(80, 64), num_frames=15, left=250, rotation=90)
    frame = read_film(path, FrameSpec(Fraction(25), 32, "crop")).frames[0].mean(axis=2)
    bright = np.flatnonzero(frame[:, 16] > 150)
    assert (bright[0], bright[-1]) == (26, 31)  # turned counter-clockwise: left is at the bottom
