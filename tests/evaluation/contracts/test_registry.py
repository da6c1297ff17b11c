"""All metrics load without their packages, and are found by name."""

import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.metric import Requirement
from dualdub_jax.evaluation.contracts.registry import METRICS, all_metrics, select
from tests.evaluation.toy import Absent, Level, NeedsWorld

# What scripts and papers refer to; others may be added, these never renamed.
STABLE = """wer wer_no_letters wer_open voice_similarity_seen voice_similarity_unseen voice_similarity_wrong
lip_correlation lip_lag_ms onset_f1 impact_class_accuracy loudness_speed_correlation rt60_correlation
noise_level_correlation casp casp_retrieval_top1 dnsmos_ovrl distillmos fad ghost_words duration_error_samples
rtf""".split()  # noqa: SIM905 (a list of names reads best as running text)


def test_names_are_unique_and_the_stable_ones_are_there():
    metrics = all_metrics()
    assert len({metric.name for metric in metrics}) == len(metrics) == len(METRICS)
    figures = [figure.name for metric in metrics for figure in metric.figures]
    assert len(set(figures)) == len(figures)
    assert set(STABLE) <= set(figures)


def test_every_metric_says_what_it_measures():
    for metric in all_metrics():
        assert metric.__doc__ and metric.version and metric.figures
        for figure in metric.figures:
            assert figure.about and figure.better in ("higher", "lower", "neither")


def test_selecting_by_metric_or_figure_keeps_the_order():
    metrics = [Level(), Absent(), NeedsWorld()]
    assert select(metrics, None) == metrics
    assert select(metrics, ["world_score", "level"]) == [metrics[0], metrics[2]]


def test_metrics_may_be_left_out():
    metrics = [Level(), Absent(), NeedsWorld()]
    assert select(metrics, None, ["absent", "world_score"]) == [metrics[0]]
    assert select(metrics, ["level", "world_score"], ["level_error"]) == [metrics[2]]
    with pytest.raises(UserError, match="--skip levle: no metric or figure has this name; did you"):
        select(metrics, None, ["levle"])
    with pytest.raises(UserError, match="--skip: leaves no metric"):
        select(metrics, ["level"], ["level"])


@pytest.mark.parametrize(
    ("name", "hint"),
    [("levle_error", "did you mean level_error"), ("xyz", "see dualdub evaluate --list-metrics")],
)
def test_unknown_names_are_answered_with_near_ones(name, hint):
    with pytest.raises(UserError, match=f"--metrics {name}: .*{hint}"):
        select([Level()], [name])


def test_requirements_say_what_to_install():
    assert Requirement("numpy", "numpy").missing() is None
    assert Requirement("numpy", "numpy").version()
    missing = Requirement("no-such", "no_such")
    assert missing.missing() == "not installed: pip install 'dualdub-jax[eval]' (brings no-such)"
    assert missing.version() == ""
    alone = Requirement("no-such", "no_such", alone="no-such==1.2")
    assert alone.missing() == "not installed: pip install --no-deps no-such==1.2"
