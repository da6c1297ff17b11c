import dataclasses

import numpy as np
import pytest

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.metrics.stem_onsets import StemOnsets
from tests.evaluation import degrade


def _clip(seed: int) -> Clip:
    """Bursts of noise at random times over 6 s, as system and as truth; no world, as of a real film."""
    rng = np.random.default_rng(seed)
    track = 1e-3 * rng.standard_normal(6 * 16_000)
    for time_s in np.cumsum(rng.uniform(0.3, 1.1, 7)):
        burst = 0.2 * rng.standard_normal(1600) * np.exp(-np.arange(1600) / 300)
        part = track[round(time_s * 16_000) :][:1600]
        part += burst[: len(part)]
    track = track.astype(np.float32)
    return Clip(id=str(seed), num_samples=len(track), background=track, true_background=track)


@pytest.fixture(scope="module")
def clips():
    return [_clip(seed) for seed in range(6)]


def _f1(clips):
    metric = StemOnsets()
    values = [value for value in metric.score(clips)["stem_onset_f1"] if value is not None]
    return metric.figures[0].summarise(values)


def test_the_truth_is_perfect_and_level_does_not_matter(clips):
    assert _f1(clips) == 1
    assert _f1([degrade.amplified(clip, "background", 6) for clip in clips]) > 0.95


def test_late_shuffled_and_silent_tracks_are_worse(clips):
    assert _f1([degrade.shifted(clip, "background", 30) for clip in clips]) > 0.9
    assert _f1([degrade.shifted(clip, "background", 150) for clip in clips]) < 0.4
    assert _f1(degrade.shuffled(clips, ["background"])) < 0.5
    assert _f1([degrade.silenced(clip, "background") for clip in clips]) == 0


def test_clips_without_a_true_stem_or_onsets_are_left_out(clips):
    silent = dataclasses.replace(
        clips[0], background=np.zeros(16_000, np.float32), true_background=np.zeros(16_000, np.float32)
    )
    others = [degrade.without(clips[0], "true_background"), degrade.without(clips[0], "background"), silent]
    assert StemOnsets().score(others) == {"stem_onset_f1": [None] * 3}
