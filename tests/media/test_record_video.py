"""Clips of training records give the same pixels as films that are dubbed."""

import pathlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.record_video import decode_frames
from tests.films import make_film, read_film

VARIABLE = [Fraction(30 * i + 9 * (i % 3), 1000) for i in range(40)]
WIDE_PIXELS = {"size": (96, 96), "left": 250, "pixel_aspect": Fraction(2)}


@pytest.mark.parametrize("fit", ["letterbox", "crop"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": (96, 48), "noise": True},
        {"rate": Fraction(30_000, 1001), "noise": True},
        {"rate": Fraction(24_000, 1001)},
        {"rate": 24, "start": Fraction(3, 2)},
        {"rate": 30},
        {"rate": 50, "num_b_frames": 2},
        {"rate": 60, "rotation": 90},
        {"times": VARIABLE, "time_base": Fraction(1, 1000), "start": Fraction(2)},
        {"rotation": 90, "size": (96, 64), "left": 250},
        {"rotation": 180, "size": (96, 64), "left": 250},
        {"rotation": 270, "size": (64, 96), "left": 250, "noise": True},
        WIDE_PIXELS,
        {**WIDE_PIXELS, "rotation": 90, "noise": True},
    ],
)
def test_training_and_dubbing_see_the_same_frames(
    tmp_path: pathlib.Path, options: dict[str, Any], fit: str
) -> None:
    path = make_film(tmp_path / "film.mp4", num_frames=40, **options)
    spec = FrameSpec(Fraction(25), 32, fit)
    dubbed = read_film(path, spec).frames
    np.testing.assert_array_equal(decode_frames(path.read_bytes(), spec, 0, len(dubbed)), dubbed)


def test_rotation_and_pixel_aspect_are_applied(tmp_path: pathlib.Path) -> None:
    """Parity alone would hold if both ignored them."""
    spec = FrameSpec(Fraction(25), 64)
    wide = make_film(tmp_path / "wide.mp4", num_frames=15, **WIDE_PIXELS)
    frame = decode_frames(wide.read_bytes(), spec, 3, 1)[0].mean(axis=2)
    rows = np.flatnonzero(frame[:, 32] > 10)
    assert (rows[0], rows[-1]) == (16, 47)  # square in pixels, twice as wide as high on screen
    assert frame[20:44, :14].min() > 200 and frame[20:44, 20:].max() < 60
    turned = make_film(tmp_path / "turned.mp4", num_frames=15, rotation=90, size=(96, 96), left=250)
    frame = decode_frames(turned.read_bytes(), spec, 3, 1)[0].mean(axis=2)
    assert frame[50:].min() > 200 and frame[:44].max() < 60


def test_a_clip_is_decoded_no_further_than_asked(tmp_path: pathlib.Path) -> None:
    """What comes after the last frame may be damaged."""
    data = bytearray(make_film(tmp_path / "film.ts", num_frames=100, noise=True).read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    frames = decode_frames(bytes(data), FrameSpec(Fraction(25), 32), 5, 20)
    np.testing.assert_array_equal(
        frames, read_film(tmp_path / "film.ts", FrameSpec(Fraction(25), 32)).frames[5:25]
    )
