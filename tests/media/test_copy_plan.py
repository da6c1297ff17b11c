"""Decoding times for packets whose own cannot be copied."""

import numpy as np
import pytest

from dualdub_jax.media.copy_plan import _decoding_times


@pytest.mark.parametrize(
    "pts", [[0, 1, 2, 3], [0, 3, 1, 2, 6, 4, 5], [0, 40, 500, 120, 80], [5, 5, 6, 7], [0, 8, 4, 2, 6]]
)
def test_decoding_times_rise_and_come_no_later_than_pictures(pts):
    pts = np.array(pts)
    dts = _decoding_times(pts)
    assert (np.diff(dts) > 0).all() and (dts <= pts).all()
