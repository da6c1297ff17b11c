"""The ear for impacts: knows the world's six classes at any level, and keeps still where nothing is hit."""

import numpy as np
import pytest

from dualdub_jax.data_pipeline.builders.puppet_stage import acoustics, sounds
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ
from dualdub_jax.evaluation.listeners import impact_sounds


def test_classes_are_those_of_the_world():
    assert tuple(sounds.IMPACTS) == impact_sounds.CLASSES
    assert len(impact_sounds.coefficients_sha256()) == 64


@pytest.mark.parametrize("gain_db", [0, -12])
@pytest.mark.parametrize("kind", impact_sounds.CLASSES)
def test_each_class_is_detected_and_classified(kind, gain_db):
    rng = np.random.default_rng(5)
    samples = acoustics.noise_floor(rng, 2 * SAMPLE_RATE_HZ, -55)
    hit = sounds.impact(kind, rng, 1.05, 0.7)
    samples[8000 : 8000 + len(hit)] += hit[: len(samples) - 8000]
    hits = impact_sounds.detect_hits(samples * 10 ** (gain_db / 20))
    assert [impact_sounds.CLASSES[i] for i in hits.classes] == [kind]
    np.testing.assert_allclose(hits.times_s, [0.5], atol=0.03)
    np.testing.assert_allclose(hits.peaks, np.abs(hit).max() * 10 ** (gain_db / 20), rtol=0.15)


@pytest.mark.parametrize("place", sounds.PLACES)
def test_no_hit_is_detected_in_an_ambience(place):
    rng = np.random.default_rng(3)
    samples = sounds.ambience(place, rng, 4 * SAMPLE_RATE_HZ)
    assert len(impact_sounds.detect_hits(samples).times_s) == 0


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(10), np.zeros(16000), np.full(16000, np.nan)])
def test_nothing_is_detected_in_silence(samples):
    hits = impact_sounds.detect_hits(samples)
    assert len(hits.times_s) == len(hits.classes) == len(hits.peaks) == 0
