"""Impacts: near perfect on true tracks; each way of spoiling moves the figure that it should."""

import dataclasses
import itertools

import numpy as np
import pytest

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.metrics.impacts import Impacts
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import puppet_clip


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [puppet_clip(i, bank_name="tone") for i in range(24)]


def _figures(clips: list[Clip]) -> dict[str, float]:
    metric = Impacts()
    values = metric.score(clips)
    present = {name: [v for v in of_clips if v is not None] for name, of_clips in values.items()}
    return {f.name: f.summarise(present[f.name]) for f in metric.figures if present[f.name]}


@pytest.fixture(scope="module")
def true_figures(clips) -> dict[str, float]:
    return _figures(clips)


def test_true_tracks_are_near_perfect(true_figures):
    assert true_figures["onset_f1"] > 0.96
    assert true_figures["onset_precision"] > 0.96
    assert true_figures["onset_recall"] > 0.96
    assert true_figures["impact_class_accuracy"] > 0.96
    assert true_figures["loudness_speed_correlation"] > 0.9


def test_shuffled_backgrounds_score_far_lower(clips, true_figures):
    shuffled = _figures(degrade.shuffled(clips, ["background"]))
    assert shuffled["onset_f1"] < 0.4 < true_figures["onset_f1"]
    assert shuffled["impact_class_accuracy"] < 0.6


def test_a_delay_of_200_ms_misses_the_contacts(clips):
    assert _figures([degrade.shifted(c, "background", 200) for c in clips])["onset_f1"] < 0.2


def test_a_delay_of_30_ms_is_within_the_tolerance(clips, true_figures):
    shifted = _figures([degrade.shifted(c, "background", 30) for c in clips])
    assert shifted["onset_recall"] > true_figures["onset_recall"] - 0.03


def test_swapped_tracks_lose_the_hits(clips):
    assert _figures([degrade.with_tracks_swapped(c) for c in clips])["onset_f1"] < 0.4


def test_speech_alone_changes_nothing(clips, true_figures):
    spoiled = [degrade.only_noise(clip, "speech") for clip in clips]
    assert _figures(spoiled) == true_figures


def test_gain_and_light_noise_change_little(clips, true_figures):
    for spoiled in (
        [degrade.amplified(clip, "background", -10) for clip in clips],
        [degrade.with_noise_at(clip, "background", -50) for clip in clips],
    ):
        figures = _figures(spoiled)
        assert abs(figures["onset_f1"] - true_figures["onset_f1"]) < 0.06
        assert abs(figures["impact_class_accuracy"] - true_figures["impact_class_accuracy"]) < 0.04


def test_heavy_noise_hides_hits(clips, true_figures):
    heavy = _figures([degrade.with_noise_at(clip, "background", -15) for clip in clips])
    assert heavy["onset_recall"] < true_figures["onset_recall"] - 0.2


def test_random_levels_lose_the_correlation(clips, true_figures):
    rng = np.random.default_rng(0)

    def at_random_levels(clip: Clip) -> Clip:
        samples = clip.background.copy()
        bounds = [int(c["time_s"] * 16000) - 400 for c in clip.world["contacts"]] + [len(samples)]
        for start, stop in itertools.pairwise(bounds):
            samples[max(start, 0) : stop] *= 10 ** (rng.uniform(-10, 5) / 20)
        return dataclasses.replace(clip, background=samples)

    random = _figures([at_random_levels(clip) for clip in clips])
    assert random["loudness_speed_correlation"] < true_figures["loudness_speed_correlation"] - 0.2


def test_silence_finds_nothing(clips):
    figures = _figures([degrade.silenced(clip, "background") for clip in clips])
    assert figures["onset_f1"] == figures["onset_recall"] == 0
    assert np.isnan(figures["onset_precision"])
    assert "impact_class_accuracy" not in figures


def test_what_is_missing_has_no_value(clips):
    metric = Impacts()
    missing = [degrade.without(clips[0], "background"), degrade.without(clips[0], "world")]
    assert all(of_clips == [None, None] for of_clips in metric.score(missing).values())


def test_odd_tracks_are_no_error(clips):
    clip = clips[0]
    odd = [
        degrade.with_nan(clip, "background"),
        degrade.clipped(clip, "background"),
        degrade.with_clicks(clip, "background"),
        degrade.with_length(clip, "background", 0),
        degrade.with_length(clip, "background", 500),
        degrade.low_passed(clip, "background"),
    ]
    for values in Impacts().score(odd).values():
        assert all(v is None or np.isfinite(v).all() for v in values)


def test_a_clip_does_not_depend_on_its_neighbours(clips):
    together = Impacts().score(clips[:3])["onset_f1"]
    alone = [Impacts().score([clip])["onset_f1"][0] for clip in clips[:3]]
    np.testing.assert_array_equal(together, alone)
