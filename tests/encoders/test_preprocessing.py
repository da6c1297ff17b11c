"""Frames reach public image encoders as their own preprocessing makes them, in dubbing and in training."""

from fractions import Fraction

import av
import numpy as np
import pytest

from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.record_video import decode_frames
from tests.convert.ports import golden
from tests.films import read_film

PREPROCESSING = {"clip": ("crop", "bicubic"), "siglip": ("stretch", "bilinear")}


def lossless_film(path, picture):
    """A film of one picture, fifteen times, without any loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "rgb24"
        for _ in range(15):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("kind", PREPROCESSING)
@pytest.mark.parametrize("name", ["wide", "tall", "small"])  # 90x51, 40x83 and, enlarged, 12x17 pixels
def test_frames_are_those_of_the_public_preprocessing(tmp_path, kind, name):
    film = lossless_film(tmp_path / "film.mov", golden("preprocessing", name))
    spec = FrameSpec(Fraction(25), 24, *PREPROCESSING[kind])
    wanted = golden("preprocessing", f"{name}_{kind}").astype(int)
    dubbed = read_film(film, spec).frames[0]
    trained = decode_frames(film.read_bytes(), spec, 0, 3)[0]
    assert dubbed.shape == (24, 24, 3)
    assert np.abs(dubbed - wanted).max() <= 1 and np.abs(trained - wanted).max() <= 1
    np.testing.assert_array_equal(dubbed, trained)
