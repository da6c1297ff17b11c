import dataclasses

import numpy as np
import pytest

from dualdub_jax.evaluation.metrics.plausible_levels import PlausibleLevels
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import puppet_clip, spoken_clips


@pytest.fixture(scope="module")
def clips():
    return [degrade.without(clip, "true_speech", "true_background", "world") for clip in spoken_clips(10)]


def _figures(clips):
    metric = PlausibleLevels()
    values = metric.score(clips)
    return {
        f.name: f.summarise([v for v in values[f.name] if v is not None])
        for f in metric.figures
        if any(v is not None for v in values[f.name])
    }


def test_true_soundtracks_are_plausible(clips):
    figures = _figures(clips)
    assert figures["balance_excess_lu"] < 1.5 and figures["pause_level_db"] < -28


@pytest.mark.parametrize(("track", "gain_db"), [("background", -12), ("speech", -15), ("background", 18)])
def test_a_stem_that_is_too_soft_or_too_loud_leaves_the_range(clips, track, gain_db):
    changed = _figures([degrade.amplified(clip, track, gain_db) for clip in clips])
    true = _figures(clips)
    assert changed["balance_excess_lu"] > true["balance_excess_lu"] + 1
    assert changed["pause_level_db"] == pytest.approx(true["pause_level_db"], abs=2)


@pytest.mark.parametrize(("noise_dbfs", "least_db"), [(-45, 8), (-35, 15)])
def test_noise_between_words_is_seen(clips, noise_dbfs, least_db):
    noisy = _figures([degrade.with_noise_at(clip, "speech", noise_dbfs) for clip in clips])
    true = _figures(clips)
    assert noisy["pause_level_db"] > true["pause_level_db"] + least_db
    assert noisy["balance_excess_lu"] == pytest.approx(true["balance_excess_lu"], abs=0.5)


def test_noise_where_nobody_speaks_at_all_is_seen():
    clip = next(clip for clip in (puppet_clip(i) for i in range(40)) if clip.text == "")
    silent = degrade.silenced(clip, "speech")
    assert _figures([silent])["pause_level_db"] == 0
    assert _figures([degrade.with_noise_at(silent, "speech", -40)])["pause_level_db"] == pytest.approx(
        40, abs=2
    )


@pytest.mark.parametrize("track", ["speech", "background"])
def test_a_silent_stem_is_the_worst(clips, track):
    assert _figures([degrade.silenced(clips[0], track)])["balance_excess_lu"] == 60


def test_what_is_missing_has_no_value(clips):
    clip = clips[0]
    missing = [
        degrade.without(clip, "speech"),
        degrade.without(clip, "text"),
        dataclasses.replace(degrade.without(clip, "background"), text=None),
        degrade.with_length(clip, "speech", 0),
    ]
    values = PlausibleLevels().score(missing)
    assert values["pause_level_db"] == [None] * 4 and values["balance_excess_lu"][:3] == [None] * 3
    assert np.isfinite(float(values["balance_excess_lu"][3]))
