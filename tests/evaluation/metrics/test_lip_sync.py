"""Lip sync on puppets: true speech fits, and 200 ms are 200 ms."""

import dataclasses

import numpy as np
import pytest

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.metrics.lip_sync import LipSync
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import spoken_clips


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return spoken_clips(8, bank_name="tone")


def _figures(clips: list[Clip]) -> dict[str, float]:
    metric = LipSync()
    values = metric.score(clips)
    present = {name: [v for v in of_clips if v is not None] for name, of_clips in values.items()}
    return {f.name: f.summarise(present[f.name]) for f in metric.figures if present[f.name]}


def test_true_speech_is_in_step(clips):
    figures = _figures(clips)
    assert figures["lip_correlation"] > 0.95
    assert figures["lip_lag_ms"] < 10


@pytest.mark.parametrize("shift_ms", [200, -120, 60])
def test_a_shift_shows_as_itself(clips, shift_ms):
    figures = _figures([degrade.shifted(clip, "speech", shift_ms) for clip in clips])
    assert figures["lip_lag_ms"] == pytest.approx(abs(shift_ms), abs=12)
    assert figures["lip_lag_signed_ms"] == pytest.approx(shift_ms, abs=12)
    assert figures["lip_correlation"] < _figures(clips)["lip_correlation"] - 0.02


def test_shuffled_speech_fits_nowhere(clips):
    figures = _figures(degrade.shuffled(clips, ["speech"]))
    assert figures["lip_correlation"] < 0.6


def test_another_background_changes_nothing(clips):
    assert _figures([degrade.only_noise(clip, "background") for clip in clips]) == _figures(clips)


def test_gain_and_noise_change_little(clips):
    spoiled = [degrade.with_noise(degrade.amplified(clip, "speech", -20), "speech", 20) for clip in clips]
    assert _figures(spoiled)["lip_correlation"] > 0.93
    assert _figures(spoiled)["lip_lag_ms"] < 10


def test_swapped_tracks_are_out_of_step(clips):
    assert _figures([degrade.with_tracks_swapped(clip) for clip in clips])["lip_correlation"] < 0.5


def test_silence_has_no_correlation_and_no_lag(clips):
    values = LipSync().score([degrade.silenced(clips[0], "speech")])
    assert values["lip_correlation"] == [0.0]
    assert values["lip_lag_ms"] == values["lip_lag_signed_ms"] == [None]


def test_no_value_without_a_mouth_that_speaks(clips):
    closed = {**clips[0].world, "mouth": np.zeros(clips[0].num_frames)}
    silent = dataclasses.replace(clips[0], text="", world=closed)
    missing = [silent, degrade.without(clips[0], "speech"), degrade.without(clips[0], "world")]
    assert all(of_clips == [None] * 3 for of_clips in LipSync().score(missing).values())


def test_odd_tracks_are_no_error(clips):
    clip = clips[0]
    odd = [
        degrade.with_nan(clip, "speech"),
        degrade.clipped(clip, "speech"),
        degrade.with_clicks(clip, "speech"),
        degrade.with_length(clip, "speech", 0),
        degrade.with_length(clip, "speech", 4000),
    ]
    for values in LipSync().score(odd).values():
        assert all(v is None or np.isfinite(v) for v in values)
