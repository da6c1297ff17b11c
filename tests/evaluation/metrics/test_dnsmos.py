import dataclasses

import numpy as np
import pytest

from dualdub_jax.evaluation.metrics.dnsmos import DNSMOS
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import spoken_clips

NAMES = [figure.name for figure in DNSMOS.figures]


@pytest.fixture(scope="module")
def clip():
    return spoken_clips(1)[0]


def _scores(clip):
    return {name: values[0] for name, values in DNSMOS().score([clip]).items()}


@pytest.fixture(scope="module")
def true(clip):
    return _scores(clip)


def test_true_speech_is_good(true):
    assert all(2.0 < true[name] < 5.0 for name in NAMES)


def test_noise_costs_the_overall_and_the_background_score(clip, true):
    noisy = _scores(degrade.with_noise(clip, "speech", 5))
    assert noisy["dnsmos_ovrl"] < true["dnsmos_ovrl"] - 0.4
    assert noisy["dnsmos_bak"] < true["dnsmos_bak"] - 0.8


def test_the_background_track_does_not_matter(clip, true):
    assert _scores(degrade.only_noise(clip, "background")) == true


def test_speech_louder_than_full_scale_and_with_holes_is_scored(clip):
    for degraded in (degrade.amplified(clip, "speech", 20), degrade.with_nan(clip, "speech")):
        assert np.isfinite(list(_scores(degraded).values())).all()


def test_silence_scores_worst_where_speech_is_expected(clip):
    silent = degrade.silenced(clip, "speech")
    assert _scores(silent) == dict.fromkeys(NAMES, 1.0)
    assert _scores(degrade.without(silent, "text")) == dict.fromkeys(NAMES, None)


def test_clips_without_speech_are_left_out(clip):
    assert _scores(degrade.without(clip, "speech")) == dict.fromkeys(NAMES, None)
    assert _scores(dataclasses.replace(clip, text="")) == dict.fromkeys(NAMES, None)


def test_weights_are_named(clip):
    metric = DNSMOS()
    metric.score([clip])
    assert len(metric.weights_sha256) == 64
