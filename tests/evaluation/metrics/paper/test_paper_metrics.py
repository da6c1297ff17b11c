"""The paper's columns with tiny models: what they need, what they score, what is a stated refusal."""

import warnings

import numpy as np
import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts import registry
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.metrics.paper.background import PaperBackground
from dualdub_jax.evaluation.metrics.paper.dualscore import retrieval
from dualdub_jax.evaluation.metrics.paper.fad import PaperFad
from dualdub_jax.evaluation.metrics.paper.speech import Naturalness, Similarity
from dualdub_jax.evaluation.run.scoring import missing_requirement
from dualdub_jax.evaluation.statistics.bootstrap import estimate
from dualdub_jax.evaluation.statistics.table import figure_entry
from tests.evaluation.metrics.paper.weights import make_weights
from tests.golden.make_metrics_golden import sound


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_weights(tmp_path_factory.mktemp("weights"))


def clip(number, num_samples=40_000, **tracks):
    """Two stems and their truth, each a glide of its own in noise of its own level."""
    rng = np.random.default_rng(number)
    names = ("speech", "background", "true_speech", "true_background")
    made = {}
    for name in names:
        level, start = rng.uniform(0.01, 0.3), rng.integers(0, 5_000)
        glide = sound(num_samples + 5_000)[start : start + num_samples]
        made[name] = (level * rng.normal(size=num_samples) + glide * rng.uniform(0.1, 2)).astype(np.float32)
    return Clip(str(number), num_samples, text="words", **(made | tracks))


def figures(metric, clips):
    scores = metric.score(clips)
    return {figure.name: estimate(scores[figure.name], figure).value for figure in metric.figures}


def test_the_truth_scores_as_it_must(weights):
    clips = [clip(i) for i in range(12)]
    true = [clip(i, speech=c.true_speech, background=c.true_background) for i, c in enumerate(clips)]
    for metric, best in (
        (PaperBackground(weights), {"fd": 0.0, "kld": 0.0}),
        (PaperFad(weights), {"fad_vggish": 0.0}),
        (Similarity(weights), {"sim": 1.0}),
    ):
        ours, theirs = figures(metric, clips), figures(metric, true)
        for name, value in best.items():
            assert theirs[name] == pytest.approx(value, abs=1e-4)
            # The tiny tagger's classes hardly depend on the sound; test_background_formulas.py tests KLD.
            assert name == "kld" or abs(ours[name] - value) > 10 * abs(theirs[name] - value)
        assert metric.weights_sha256
    assert figures(PaperBackground(weights), clips)["inception_score_cnn14"] >= 1.0


@pytest.mark.parametrize("kind", ["silent", "empty", "short", "two channels' worth of samples missing"])
def test_odd_stems_have_a_stated_result(weights, kind):
    length = {"silent": 40_000, "empty": 0, "short": 4_800}.get(kind, 39_998)
    stem = np.zeros(length, np.float32) if kind in ("silent", "empty") else sound(length)
    clips = [clip(i, speech=stem, background=stem) for i in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in (PaperBackground, PaperFad, Similarity, Naturalness):
            for name, value in figures(make(weights), clips).items():
                assert np.isfinite(value) or name == "inception_score_cnn14", name


def test_a_silent_speech_track_does_not_leave_the_mean(weights):
    silent = clip(0, speech=np.zeros(40_000, np.float32))
    for make in (Similarity, Naturalness):
        assert all(value is not None for value in make(weights).score_clip(silent).values())
        assert make(weights).score_clip(clip(0, speech=None)) == {}


def test_too_few_clips_for_a_covariance_are_flagged(weights):
    metric = PaperFad(weights)
    clips = [clip(i) for i in range(3)]
    values = {"ours": {c.id: metric.score_clip(c) for c in clips}}
    entry = figure_entry(metric, metric.figures[0], values, {}, lambda *_: None)
    assert entry["note"].startswith("3 clips are fewer than the 128 dimensions of its features")


def test_what_is_missing_is_named_with_page_licence_and_command(tmp_path):
    metrics = {metric.name: metric for metric in registry.paper_metrics(tmp_path)}
    text = missing_requirement(metrics["paper_background"])
    assert "CC BY 4.0" in text and "zenodo.org" in text and f"dualdub convert FILE {tmp_path}/cnn14" in text
    assert f"--out {tmp_path}/casp" in missing_requirement(metrics["paper_dualscore"])
    assert "DIR/utmos, then --weights DIR" in missing_requirement(registry.paper_metrics()[5])
    assert "tiny.en" in metrics["paper_wer"].figures[0].about


def test_another_models_folder_is_refused(weights, tmp_path):
    (weights / "cnn14").rename(tmp_path / "kept")
    try:
        (weights / "vggish").rename(weights / "cnn14")
        with pytest.raises(UserError, match=r"cnn14: holds 'vggish'"):
            PaperBackground(weights).score_clip(clip(0))
        (weights / "cnn14").rename(weights / "vggish")
    finally:
        (tmp_path / "kept").rename(weights / "cnn14")


def test_retrieval_counts_over_all_pairs():
    vectors = np.eye(8)
    perfect = [np.stack([v, v]) for v in vectors]
    assert [retrieval(perfect, top) for top in (1, 3, 5)] == [1.0, 1.0, 1.0]
    shifted = [np.stack([v, w]) for v, w in zip(vectors, np.roll(vectors, 1, axis=0), strict=True)]
    assert retrieval(shifted, 1) == 0.0
    assert retrieval([np.full((2, 3), 3**-0.5)] * 8, 1) == 0.0  # an encoder that is constant
    drawn = [perfect[i] for i in np.random.default_rng(0).integers(8, size=8)]
    assert retrieval(drawn, 1) == 1.0  # copies in a bootstrap draw are no rivals
    assert np.isnan(retrieval(perfect[:5], 5))
