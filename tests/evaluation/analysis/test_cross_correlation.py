"""Delay and correlation of a sound behind a picture, to less than a frame."""

import numpy as np
import pytest

from dualdub_jax.evaluation.analysis.cross_correlation import agreement


def _curve(times_s: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    waves = zip(rng.uniform(0.5, 3, 6), rng.uniform(0, 6.3, 6), strict=True)
    return sum(np.sin(2 * np.pi * hz * times_s + phase) for hz, phase in waves)


_SEEN = _curve(np.arange(80) / 25)


@pytest.mark.parametrize("delay_ms", [0, 13, 40, -77, 200, -333])
def test_a_delay_shows_as_itself(delay_ms):
    found = agreement(_SEEN, lambda t: _curve(t - delay_ms / 1000), 25)
    assert found.lag_ms == pytest.approx(delay_ms, abs=1)
    assert found.best_correlation == pytest.approx(1, abs=1e-3)


def test_gain_and_offset_do_not_matter():
    found = agreement(_SEEN, lambda t: 3 * _curve(t) - 7, 25)
    assert found.correlation == pytest.approx(1)


def test_what_is_unknown_is_left_out():
    seen = _SEEN.copy()
    seen[10:30] = np.nan
    found = agreement(seen, lambda t: np.where(t < 2.5, _curve(t), np.nan), 25)
    assert found.correlation == pytest.approx(1)


def test_a_sound_that_never_varies_has_no_delay():
    found = agreement(_SEEN, np.zeros_like, 25)
    assert (found.correlation, found.lag_ms) == (0.0, None)


def test_nothing_seen_gives_nothing():
    assert agreement(np.zeros(80), _curve, 25) is None
    assert agreement(_SEEN[:5], _curve, 25) is None
    assert agreement(np.full(80, np.nan), _curve, 25) is None
