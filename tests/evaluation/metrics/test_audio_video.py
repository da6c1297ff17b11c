"""Changes on screen against onsets in the mixture."""

import dataclasses

import numpy as np
import pytest

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.metrics.audio_video import AudioVideo, visible_change
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import puppet_clip


def _flashes(seed: int, num_frames: int = 75) -> Clip:
    """A square that jumps, with a burst of noise at each jump."""
    rng = np.random.default_rng(seed)
    jumps = np.cumsum(rng.integers(5, 14, 12))
    jumps = jumps[jumps < num_frames - 4]
    frames = np.full((num_frames, 32, 48, 3), 40, np.uint8)
    samples = 1e-3 * rng.standard_normal(num_frames * 640)
    for number, frame in enumerate(jumps):
        frames[frame:, 8:16, :40] = 40
        frames[frame:, 8:16, 8 * (number % 4) : 8 * (number % 4) + 8] = 200
        samples[frame * 640 :][:1600] += 0.2 * rng.standard_normal(1600) * np.exp(-np.arange(1600) / 300)
    mixture = samples.astype(np.float32)
    return Clip(id=str(seed), num_samples=len(mixture), mixture=mixture, load_frames=lambda: frames)


@pytest.fixture(scope="module")
def flashes() -> list[Clip]:
    return [_flashes(seed) for seed in range(8)]


def _figures(clips: list[Clip]) -> dict[str, float]:
    metric = AudioVideo()
    values = metric.score(clips)
    return {f.name: f.summarise([v for v in values[f.name] if v is not None]) for f in metric.figures}


def test_what_jumps_and_sounds_together_agrees(flashes):
    figures = _figures(flashes)
    assert figures["av_correlation"] > 0.8 and figures["av_sync"] > 0.8
    assert figures["av_lag_ms"] < 20


@pytest.mark.parametrize("shift_ms", [200, -160])
def test_a_shift_shows_as_itself(flashes, shift_ms):
    figures = _figures([degrade.shifted(clip, "mixture", shift_ms) for clip in flashes])
    assert figures["av_lag_ms"] == pytest.approx(abs(shift_ms), abs=20)
    assert figures["av_correlation"] < 0.3 and figures["av_sync"] < 0.4


def test_shuffled_pairs_agree_less(flashes):
    figures = _figures(degrade.shuffled(flashes, ["mixture"]))
    assert figures["av_correlation"] < 0.3 and abs(figures["av_sync"]) < 0.3


def test_puppets_agree_with_their_own_sounds_more_than_with_others():
    clips = [puppet_clip(i, bank_name="tone") for i in range(16)]
    own, other = _figures(clips), _figures(degrade.shuffled(clips))
    assert own["av_correlation"] > other["av_correlation"] + 0.1
    assert own["av_sync"] > other["av_sync"] + 0.1


def test_the_change_is_that_of_the_busiest_place():
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    frames[1:, :2, :2] = 100
    np.testing.assert_allclose(visible_change(frames), [np.nan, 100, 0])
    assert visible_change(np.zeros((2, 3, 5, 3), np.uint8)).shape == (2,)


def test_what_is_missing_has_no_value(flashes):
    clip = flashes[0]
    still = dataclasses.replace(clip, load_frames=lambda: np.zeros((75, 16, 16, 3), np.uint8))
    missing = [degrade.without(clip, "load_frames"), degrade.without(clip, "mixture"), still]
    assert all(of_clips == [None] * 3 for of_clips in AudioVideo().score(missing).values())


def test_odd_tracks_are_no_error(flashes):
    clip = flashes[0]
    odd = [
        degrade.silenced(clip, "mixture"),
        degrade.with_nan(clip, "mixture"),
        degrade.with_length(clip, "mixture", 0),
        degrade.with_length(clip, "mixture", 900),
    ]
    values = AudioVideo().score(odd)
    assert values["av_correlation"][0] == values["av_sync"][0] == 0
    assert all(np.isfinite(value) for value in values["av_sync"])
    assert values["av_lag_ms"][0] is None
    assert all(np.isfinite(value) for value in values["av_correlation"])
