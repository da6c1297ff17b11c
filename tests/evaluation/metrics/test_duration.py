import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.metrics.duration import Duration
from tests.evaluation import degrade

CLIP = Clip("x", 1_000, speech=np.ones(1_000, np.float32), background=np.zeros(1_000, np.float32))


def _errors(*clips):
    return Duration().score(clips)["duration_error_samples"]


def test_exact_tracks_have_no_error():
    assert _errors(CLIP, degrade.silenced(CLIP, "speech")) == [0, 0]


def test_one_sample_too_many_or_too_few_counts_in_any_track():
    mixture = Clip("y", 1_000, mixture=np.zeros(998, np.float32))
    longer, shorter = (degrade.with_length(CLIP, "background", n) for n in (1_001, 999))
    assert _errors(longer, shorter, mixture) == [1, 1, 2]


def test_the_worse_track_counts_and_the_figure_is_the_worst_clip():
    both = degrade.with_length(degrade.with_length(CLIP, "speech", 990), "background", 0)
    values = _errors(CLIP, both)
    assert values == [0, 1_000]
    assert Duration.figures[0].summarise(values) == 1_000


def test_without_tracks_there_is_nothing_to_say():
    assert _errors(degrade.without(CLIP, "speech", "background")) == [None]
