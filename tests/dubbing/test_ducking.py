"""The background is down while somebody speaks, and moves smoothly."""

import json

import numpy as np
import pytest

from dualdub_jax.dubbing.ducking import ATTACK_S, HOLD_S, RELEASE_S, Ducking

RATE_HZ = 1_000
DOWN = 10 ** (-9 / 20)


def test_the_gain_is_down_from_the_first_word_on_and_up_after_the_release():
    gains = Ducking.under([(2.0, 3.0)], 9.0).gains(0, 6_000, RATE_HZ)
    np.testing.assert_allclose(gains[2_000 : int(1_000 * (3 + HOLD_S))], DOWN)
    assert (gains[: int(1_000 * (2 - ATTACK_S))] == 1).all()
    assert (gains[int(1_000 * (3 + HOLD_S + RELEASE_S)) + 1 :] == 1).all()
    steps_db = np.diff(20 * np.log10(gains))
    assert np.abs(steps_db).max() < 0.1  # a decibel in more than 10 ms
    assert np.abs(np.diff(steps_db)).max() < 0.005  # without a corner


def test_short_pauses_are_bridged_and_long_ones_are_not():
    pause_s = HOLD_S + RELEASE_S + ATTACK_S
    close = Ducking.under([(2.5, 3.0), (1.0, 2.0), (2.9, 4.0), (4.0 + pause_s - 0.01, 6.0)], 9.0)
    assert close.spans_s == ((1.0, 6.0),)
    far = Ducking.under([(1.0, 2.0), (2.01 + pause_s, 6.0)], 9.0)
    assert len(far.spans_s) == 2
    assert far.gains(0, 8_000, RATE_HZ)[1_000:5_000].max() == pytest.approx(1.0, abs=0.01)


def test_no_depth_or_no_speech_is_no_ducking():
    assert Ducking.under([(1.0, 2.0)], 0.0).gains(0, 10, RATE_HZ) == 1.0
    assert Ducking.under([], 9.0).gains(0, 10, RATE_HZ) == 1.0


def test_parts_have_the_gains_of_the_whole():
    ducking = Ducking.under([(0.0, 0.1), (3.0, 3.5)], 12.0)
    whole = ducking.gains(0, 5_000, RATE_HZ)
    np.testing.assert_array_equal(ducking.gains(2_700, 3_100, RATE_HZ), whole[2_700:3_100])
    assert whole[0] == pytest.approx(10 ** (-12 / 20))
    assert Ducking.restore(json.loads(json.dumps(ducking.describe()))) == ducking
