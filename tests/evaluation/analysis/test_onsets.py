"""Onsets: found where they are, whatever the waveform; matched one to one."""

import itertools

import numpy as np
import pytest

from dualdub_jax.evaluation.analysis import onsets
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ


def _found(samples: np.ndarray) -> np.ndarray:
    return onsets.pick_onsets(onsets.onset_strength(onsets.mel_power(samples)))


def _hits(times_s: list[float], duration_s: float = 2.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    samples = 1e-4 * rng.standard_normal(int(duration_s * SAMPLE_RATE_HZ))
    for time_s in times_s:
        start = round(time_s * SAMPLE_RATE_HZ)
        t = np.arange(len(samples) - start) / SAMPLE_RATE_HZ
        samples[start:] += 0.3 * np.exp(-t / 0.03) * rng.standard_normal(len(t))
    return samples


def test_onsets_are_found_to_a_few_milliseconds():
    times_s = [0.3, 0.52, 1.04, 1.7]
    np.testing.assert_allclose(_found(_hits(times_s)), times_s, atol=0.008)


def test_a_steady_tone_has_no_onset_after_it_began():
    t = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    assert (_found(0.3 * np.sin(2 * np.pi * 440 * t)) < 0.05).all()


@pytest.mark.parametrize("num_samples", [0, 1, 79, 700])
def test_short_and_broken_tracks_are_no_error(num_samples):
    samples = np.full(num_samples, np.nan)
    assert onsets.mel_power(samples).shape == (1 + num_samples // 80, 40)
    assert len(_found(samples)) == 0


def test_power_of_a_full_scale_sine_is_about_one():
    t = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    power = onsets.mel_power(np.sin(2 * np.pi * 1000 * t))[50:-50]
    assert 0.2 < power.max(axis=1).mean() < 1.5


def test_matching_is_one_to_one_and_takes_the_nearest():
    assert onsets.match(np.array([0.95, 1.0]), np.array([1.01]), 0.06) == [(1, 0)]
    assert onsets.match(np.array([1.0]), np.array([0.95, 1.04]), 0.06) == [(0, 1)]
    # Nearest first would leave 1.10 alone.
    assert onsets.match(np.array([1.0, 1.05]), np.array([1.04, 1.10]), 0.06) == [(0, 0), (1, 1)]
    assert onsets.match(np.array([1.0]), np.array([1.0601]), 0.06) == []
    assert onsets.match(np.zeros(0), np.array([1.0]), 0.06) == []


def test_matching_is_the_best_of_all_matchings():
    rng = np.random.default_rng(1)
    for _ in range(30):
        found, true = np.sort(rng.uniform(0, 0.4, 4)), np.sort(rng.uniform(0, 0.4, 3))
        most = 0
        for order in itertools.permutations(range(4), 3):
            most = max(most, sum(abs(found[i] - true[j]) <= 0.06 for j, i in enumerate(order)))
        pairs = onsets.match(found, true, 0.06)
        assert len(pairs) == most
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
