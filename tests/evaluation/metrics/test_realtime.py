"""Seconds of work over seconds of film."""

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.metrics.realtime import RealTime
from dualdub_jax.evaluation.statistics.bootstrap import estimate


def test_seconds_add_up_over_clips_and_unknown_ones_do_not_count():
    clips = [
        Clip(id="a", num_samples=16_000, generation_s=2.0),
        Clip(id="b", num_samples=48_000, generation_s=2.0),
        Clip(id="c", num_samples=48_000),
        Clip(id="d", num_samples=0, generation_s=1.0),
    ]
    values = RealTime().score(clips)["rtf"]
    assert values[2] is None and values[3] is None
    found = estimate(values, RealTime.figures[0])
    assert (found.value, found.n) == (1.0, 2)
    assert RealTime.figures[0].clip_value(values[0]) == 2.0
