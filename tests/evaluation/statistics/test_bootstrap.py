"""Intervals: of the right width, the same every time, and fast paths that say what the slow path says."""

import dataclasses

import numpy as np
import pytest

from dualdub_jax.evaluation.contracts.metric import Figure, correlation, mean, ratio
from dualdub_jax.evaluation.statistics.bootstrap import estimate, paired_difference
from dualdub_jax.evaluation.statistics.frechet import frechet_distance


def figure(summarise=mean, **more) -> Figure:
    return Figure("figure", "", "higher", "", summarise=summarise, **more)


def distance(values) -> float:
    """Fréchet distance of the left and the right rows of float[N, 2, D] values."""
    rows = np.concatenate(values)
    return frechet_distance(rows[:, 0], rows[:, 1])


def test_interval_of_a_mean_is_that_of_the_central_limit():
    values = list(np.random.default_rng(1).normal(2.0, 3.0, size=400))
    found = estimate(values, figure())
    half_width = 1.96 * np.std(values) / np.sqrt(400)
    assert found.n == 400 and found.value == pytest.approx(np.mean(values))
    assert found.low == pytest.approx(np.mean(values) - half_width, abs=0.05)
    assert found.high == pytest.approx(np.mean(values) + half_width, abs=0.05)


@pytest.mark.parametrize("num_clips", [5, 8, 20, 60])
def test_about_95_of_100_intervals_hold_the_truth(num_clips):
    rng = np.random.default_rng(num_clips)
    hits = 0
    for _ in range(400):
        found = estimate(list(rng.normal(1.0, 1.0, size=num_clips)), figure())
        hits += found.low <= 1.0 <= found.high
    # Of five clips, 1,000 draws do not reach far enough into the tails.
    assert (0.88 if num_clips == 5 else 0.92) <= hits / 400 <= 0.98


def test_about_95_of_100_intervals_of_a_correlation_hold_the_truth():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        x = rng.normal(size=(12, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])
        found = estimate(list(x), figure(correlation, least_clips=10, limits=(-1.0, 1.0)))
        hits += found.low <= 0.8 <= found.high
    assert 0.88 <= hits / 300 <= 0.99


@pytest.mark.parametrize("summarise", [mean, ratio, correlation])
def test_fast_and_slow_paths_agree(summarise):
    values = list(np.random.default_rng(2).uniform(0, 4, size=(30, 2)))
    fast = estimate(values, figure(summarise, num_resamples=200))
    slow = estimate(values, figure(lambda v: summarise(v), num_resamples=200))
    assert (fast.value, fast.n) == (slow.value, slow.n)
    np.testing.assert_allclose([fast.low, fast.high], [slow.low, slow.high], rtol=1e-12)


def test_ratio_weighs_clips_by_their_size():
    assert estimate([np.array([1, 1]), np.array([0, 9]), np.array([0, 0])], figure(ratio)).value == 0.1


def test_clips_without_a_value_do_not_count():
    found = estimate([np.array(1.0), None, np.array(3.0), np.array(2.0), *np.array([1.5, 2.5])], figure())
    assert (found.value, found.n) == (2.0, 5)
    assert 1.0 <= found.low <= found.high <= 3.0


def test_no_clips_is_no_figure_and_few_clips_are_no_interval():
    nothing, four = estimate([None, None], figure()), estimate(list(np.arange(4.0)), figure())
    assert nothing.n == 0 and np.isnan([nothing.value, nothing.low, nothing.high]).all()
    assert (four.value, four.n) == (1.5, 4) and np.isnan([four.low, four.high]).all()
    nine = list(np.random.default_rng(0).normal(size=(9, 2)))
    assert np.isnan(estimate(nine, figure(correlation, least_clips=10)).low)
    assert np.isfinite(estimate([*nine, nine[0]], figure(correlation, least_clips=10)).low)


def test_a_figure_that_no_draw_can_compute_has_no_interval():
    constant = [np.array([1.0, 2.0])] * 5
    found = estimate(constant, figure(correlation))
    assert found.n == 5 and np.isnan([found.value, found.low, found.high]).all()


def test_values_of_varying_length_are_resampled_by_clip():
    pooled = figure(lambda clips: float(np.concatenate(clips).mean()), num_resamples=50)
    found = estimate([np.ones(3), np.zeros(1), np.ones(2), np.ones(3), np.ones(1)], pooled)
    assert found.value == 0.9 and found.low <= 0.9 <= found.high


def test_draws_of_a_figure_of_the_set_are_centred_on_it():
    """A distance between sets of clips grows when some of them come twice."""
    clips = list(np.random.default_rng(5).normal(size=(40, 3, 2, 16)))
    plain = estimate(clips, figure(distance, num_resamples=100))
    moved = estimate(clips, figure(distance, num_resamples=100, of_the_set=True))
    assert plain.value == moved.value < plain.low
    assert moved.low < moved.value < moved.high
    assert moved.high - moved.low == pytest.approx(plain.high - plain.low)


def test_the_difference_of_two_figures_of_the_set_is_centred_too():
    near = np.random.default_rng(6).normal(size=(40, 3, 2, 16))
    far = near * [[1.0], [2.0]]
    a, b, found = paired_difference(
        list(near), list(far), figure(distance, num_resamples=100, of_the_set=True)
    )
    assert found.value == a - b < 0 and found.low < found.value < found.high < 0


def test_pairing_finds_a_difference_that_is_small_beside_the_spread_of_clips():
    rng = np.random.default_rng(3)
    easy_and_hard = rng.normal(0, 10, size=100)
    ours = list(easy_and_hard + 0.5 + rng.normal(0, 0.1, size=100))
    a, b, difference = paired_difference(ours, list(easy_and_hard), figure())
    assert a - b == pytest.approx(difference.value) == pytest.approx(0.5, abs=0.05)
    assert 0.4 < difference.low < difference.high < 0.6 and difference.n == 100


def test_pairing_uses_only_clips_that_both_have():
    a, b, difference = paired_difference(
        [np.array(1.0), None, np.array(5.0), np.array(3.0)],
        [np.array(0.0), np.array(9.0), None, np.array(3.0)],
        figure(),
    )
    assert (a, b, difference.value, difference.n) == (2.0, 1.5, 0.5, 2)
    assert paired_difference([None], [np.array(1.0)], figure())[2].n == 0


def test_intervals_are_the_same_every_time():
    values = list(np.random.default_rng(4).normal(size=20))
    assert estimate(values, figure()) == estimate(values, figure())


def test_an_interval_ends_at_the_limits_of_the_figure():
    """A distance is recentred below its bias, but it is not negative; a difference of two may be."""
    free = figure(lambda values: np.square(np.mean(values)), of_the_set=True)
    limited = dataclasses.replace(free, limits=(0.0, np.inf))
    values = list(np.random.default_rng(0).normal(size=40))
    without, ended = estimate(values, free), estimate(values, limited)
    assert without.low < 0 and (ended.low, ended.high, ended.value) == (0.0, without.high, without.value)
    others = list(np.random.default_rng(1).normal(size=40))
    assert paired_difference(values, others, limited)[2].low < 0
    assert np.isnan(estimate(values[:2], limited).low)
