"""The crop and the overlap that the face mesh needs, and the packaged models, which `make test` installs.

No film of a real face may be committed, so the models see only pictures without one here.
"""

import numpy as np
import pytest

from dualdub_jax.evaluation.listeners import face_mesh


@pytest.mark.parametrize("size", [30, 60, 120])
def test_a_crop_turns_and_scales(size):
    frame = np.zeros((90, 120, 3), np.uint8)
    frame[40:50, 70:80] = 255  # centre (75, 45), on the right of the crop's centre
    centre = np.array([60.0, 45.0])
    straight = face_mesh._crop(frame, centre, 60.0, 0.0, size)
    turned = face_mesh._crop(frame, centre, 60.0, np.pi / 2, size)
    for crop, (x, y) in ((straight, (0.75, 0.5)), (turned, (0.5, 0.25))):
        assert crop.shape == (size, size, 3)
        rows, columns = np.nonzero(crop[..., 0] > 127)
        assert (columns.mean() + 0.5) / size == pytest.approx(x, abs=0.02)
        assert (rows.mean() + 0.5) / size == pytest.approx(y, abs=0.02)
    assert straight.sum() / size**2 == pytest.approx(turned.sum() / size**2, rel=0.05)


def test_outside_a_picture_is_black():
    crop = face_mesh._crop(np.full((10, 10, 3), 255, np.uint8), np.array([0.0, 0.0]), 20.0, 0.0, 40)
    assert not crop[:18, :18].any()
    assert (crop[22:38, 22:38] == 255).all()


def test_overlap_of_boxes():
    one = np.array([[0.5, 0.5], [0.2, 0.2]])
    others = np.stack([one + np.array([[shift, 0.0], [0.0, 0.0]]) for shift in (0.0, 0.1, 0.3)])
    np.testing.assert_allclose(face_mesh._overlap(one, others), [1, 1 / 3, 0], atol=1e-9)


def test_anchors_are_those_of_the_detector():
    anchors = face_mesh._anchors()
    assert anchors.shape == (896, 2)
    np.testing.assert_allclose(anchors[:3], [[1 / 32, 1 / 32], [1 / 32, 1 / 32], [3 / 32, 1 / 32]])
    np.testing.assert_allclose(anchors[-1], [15 / 16, 15 / 16])


def test_no_face_is_found_where_there_is_none():
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (60, 90, 3)), np.zeros((60, 90, 3)), np.full((90, 60, 3), 128)]
    mesh = face_mesh.load()
    assert all(np.isnan(mesh.mouth_opening(frame[None].astype(np.uint8))).all() for frame in frames)
    assert mesh.mouth_opening(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0,)
