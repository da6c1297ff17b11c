"""Clips of training records give the same pixels as films that are dubbed."""

import pathlib
from fractions import Fraction
from typing import Any

import av
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


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_b_frames": 3},
        {"num_b_frames": 3, "codec_options": {"x264-params": "open-gop=1:keyint=30:b-pyramid=normal"}},
        {"num_b_frames": 2, "start": Fraction(3, 2), "rate": Fraction(30_000, 1001)},
        {"codec_options": {"x264-params": "intra-refresh=1:keyint=30"}},
        {"codec_options": {"g": "1000"}},
        {"times": [Fraction(40 * i + 9 * (i % 3), 1000) for i in range(150)], "time_base": Fraction(1, 1000)},
        {"codec": "mpeg4", "codec_options": {"bf": "2", "g": "20"}},
        {"format": "matroska"},
        {"options": {"movflags": "frag_keyframe+empty_moov"}},
    ],
)
def test_a_part_of_a_clip_has_the_frames_of_the_whole(
    tmp_path: pathlib.Path, options: dict[str, Any]
) -> None:
    """Wherever it begins: late parts are sought."""
    data = make_film(tmp_path / "film.mp4", num_frames=150, noise=True, **options).read_bytes()
    spec = FrameSpec(Fraction(25), 32)
    whole = decode_frames(data, spec, 0, 124)
    for start, length in [(3, 5), (49, 2), (50, 12), (71, 1), (72, 2), (84, 30), (119, 5)]:
        np.testing.assert_array_equal(decode_frames(data, spec, start, length), whole[start : start + length])


def test_what_comes_before_the_key_frame_of_a_part_is_not_decoded(tmp_path: pathlib.Path) -> None:
    path = make_film(tmp_path / "film.mp4", num_frames=150, noise=True)
    spec, data = FrameSpec(Fraction(25), 32), bytearray(path.read_bytes())
    expected = decode_frames(bytes(data), spec, 100, 20)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for position, size in packets[1:95]:  # key frames are 0, 12, …, 96, …
        data[position : position + size] = bytes(size)
    np.testing.assert_array_equal(decode_frames(bytes(data), spec, 100, 20), expected)
