"""CASP as a metric: what moves its figures, what does not, what has none."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

from dualdub_jax.casp import bundle
from dualdub_jax.casp.model import Casp
from dualdub_jax.config import BeatsConfig, CaspConfig
from dualdub_jax.configs import casp_puppet
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.metrics.casp import CaspMetric, margin, retrieval_top1
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import spoken_clips

RNG = np.random.default_rng(0)
TINY = CaspConfig(
    encoder=BeatsConfig(
        num_mels=32, patch_width=8, width=16, num_layers=1, num_heads=2, mlp_width=8, conv_num_groups=2
    ),
    score_crop_samples=8000,
    score_window_samples=8160,
)


def _clip(**tracks) -> Clip:
    tracks = {"speech": _noise(9000), "background": _noise(9000)} | tracks
    return Clip("clip", 9000, **tracks)


def _noise(num_samples: int) -> np.ndarray:
    return (0.1 * RNG.normal(size=num_samples)).astype(np.float32)


def _embeddings(count: int, noise: float, seed: int = 0) -> list[np.ndarray]:
    """float[2, 8] a clip: a direction of its own and a noisy copy, of unit length."""
    rng = np.random.default_rng(seed)
    speech = rng.normal(size=(count, 8))
    pairs = np.stack([speech, speech + noise * rng.normal(size=(count, 8))], axis=1)
    return list(pairs / np.linalg.norm(pairs, axis=-1, keepdims=True))


def _shuffled(pairs: list[np.ndarray]) -> list[np.ndarray]:
    return [np.stack([a[0], b[1]]) for a, b in zip(pairs, pairs[1:] + pairs[:1], strict=True)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    stem = np.zeros((1, 4000), np.float32)
    params = jax.jit(Casp(TINY).init)(jax.random.key(0), stem, stem)["params"]
    folder = tmp_path_factory.mktemp("casp") / "tiny"
    bundle.save(folder, TINY, nn.unbox(params), {})
    return folder


@pytest.fixture(scope="module")
def metric(weights):
    return CaspMetric(weights)


# ------------------------------------------------------------------------------------ figures of embeddings


def test_perfect_pairs_are_always_found_and_shuffled_ones_are_not():
    pairs = _embeddings(100, noise=0.0)
    assert retrieval_top1(pairs) == 1.0
    assert margin(pairs) > 0.8
    assert retrieval_top1(_shuffled(pairs)) < 0.1
    assert margin(_shuffled(pairs)) < 0.1


def test_noise_costs_retrieval_gradually():
    figures = [retrieval_top1(_embeddings(200, noise)) for noise in (0.0, 0.5, 1.0, 3.0, 100.0)]
    assert figures == sorted(figures, reverse=True)
    assert figures[-1] == pytest.approx(1 / 32, abs=0.03)


def test_retrieval_is_the_mean_over_all_batches():
    pairs = _embeddings(40, noise=0.8)
    rng, hits = np.random.default_rng(1), []
    for _ in range(3000):
        batch = np.stack([pairs[i] for i in rng.permutation(40)[:32]])
        similarity = batch[:, 0] @ batch[:, 1].T
        for axis in (0, 1):
            hits.append(np.mean(similarity.argmax(axis=axis) == np.arange(32)))
    assert retrieval_top1(pairs) == pytest.approx(np.mean(hits), abs=0.005)
    assert retrieval_top1(pairs[::-1]) == pytest.approx(retrieval_top1(pairs), abs=1e-12)


def test_too_few_clips_have_no_retrieval():
    assert np.isnan(retrieval_top1(_embeddings(31, noise=0.0)))
    assert np.isnan(margin(_embeddings(1, noise=0.0)))


def test_copies_in_a_bootstrap_are_not_rivals():
    pairs = _embeddings(32, noise=0.0)
    drawn = [pairs[i] for i in np.random.default_rng(0).integers(32, size=32)]
    assert retrieval_top1(drawn) == 1.0


def test_encoders_that_say_always_the_same_find_nothing():
    same = [np.eye(2, 8)[:1].repeat(2, axis=0)] * 50
    assert retrieval_top1(same) == 0.0
    assert np.isnan(margin(same))
    distinct_backgrounds = [np.stack([np.eye(8)[0], pair[1]]) for pair in _embeddings(50, 0.0)]
    assert retrieval_top1(distinct_backgrounds) < 0.1


# ------------------------------------------------------------------------------------------- the metric


def test_values_are_those_of_the_clip_alone_and_hide_levels(metric):
    one, two = _clip(), _clip()
    quiet = dataclasses.replace(one, speech=0.1 * one.speech, background=0.5 * one.background + 0.01)
    together, alone = metric.score([one, two]), metric.score([two])
    for name in together:
        np.testing.assert_array_equal(together[name][1], alone[name][0])
        np.testing.assert_allclose(metric.score([quiet])[name][0], together[name][0], atol=1e-3)


def test_the_two_conventions(metric):
    clip = _clip()
    values = metric.score([clip])
    pair = values["casp_retrieval_top1"][0]
    assert values["casp"][0][0] == pytest.approx(pair[0] @ pair[1], abs=1e-6)
    assert 0 <= values["casp_podeval"][0][0] <= 1
    # DualBench scores the first crop alone, PodEval the whole clip.
    later = clip.background.copy()
    later[8000:] = _noise(1000)
    changed = metric.score([dataclasses.replace(clip, background=later)])
    assert changed["casp"][0] == values["casp"][0]
    assert changed["casp_podeval"][0] != values["casp_podeval"][0]


@pytest.mark.parametrize("stream", ["speech", "background"])
def test_a_stem_that_is_silent_where_the_truth_is_not_is_the_worst(metric, stream):
    clip = _clip(true_speech=_noise(9000), true_background=_noise(9000))
    values = metric.score([degrade.silenced(clip, stream)])
    assert values["casp"][0] == pytest.approx(-1) and values["casp_podeval"][0] == 0
    others = [metric.score([_clip()])["casp_retrieval_top1"][0] for _ in range(2)]
    assert margin([values["casp_margin"][0], *others]) < margin(others)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        np.zeros(9000, np.float32),
        np.full(9000, 0.3, np.float32),
        np.zeros(0, np.float32),
        np.full(9000, np.nan, np.float32),
    ],
    ids=["missing", "silent", "constant", "empty", "nan"],
)
@pytest.mark.parametrize("track", ["speech", "background"])
def test_an_inaudible_stem_has_no_score(metric, track, broken):
    assert all(value == [None] for value in metric.score([_clip(**{track: broken})]).values())


@pytest.mark.parametrize("num_samples", [1, 2, 100, 400, 200_000])
def test_any_length_is_scored_if_it_sounds(metric, num_samples):
    stem = np.sign(_noise(num_samples)) * 0.5
    stem[0] = -0.7
    values = metric.score([_clip(speech=stem)])
    expected_none = num_samples == 1
    for value in values.values():
        assert (value[0] is None) == expected_none
        assert expected_none or np.isfinite(value[0]).all()


def test_the_weights_are_named(metric, weights):
    assert all("weights: CASP of tiny" in figure.about for figure in metric.figures)
    assert "first 0.5 s" in metric.figures[0].about
    metric.score([])
    assert len(metric.weights_sha256) == 64
    with pytest.raises(UserError, match=r"nowhere: no CASP weights there: .*dualdub_jax\.casp\.convert"):
        CaspMetric(weights.parent / "nowhere")


# ------------------------------------------------------------- the bundled weights on Puppet Stage's clips


@pytest.fixture(scope="module")
def bundled():
    return CaspMetric()


@pytest.fixture(scope="module")
def clips():
    return spoken_clips(24)


@pytest.fixture(scope="module")
def true_values(bundled, clips):
    return bundled.score(clips)


def _casp(bundled, clips) -> float:
    return float(np.mean([value[0] for value in bundled.score(clips)["casp"]]))


def test_true_pairs_score_above_mismatched_ones(true_values):
    pairs = true_values["casp_margin"]
    assert margin(pairs) > 0.1
    assert margin(_shuffled(pairs)) < 0.5 * margin(pairs)


def test_other_acoustics_lower_the_score_and_a_gain_does_not(bundled, clips, true_values):
    true = np.mean([value[0] for value in true_values["casp"]])
    assert _casp(bundled, [degrade.with_noise(c, "speech", 15.0) for c in clips]) < true - 0.05
    assert _casp(bundled, [degrade.amplified(c, "speech", -12.0) for c in clips]) == pytest.approx(
        true, abs=1e-3
    )
    swapped = [dataclasses.replace(c, speech=c.background, background=c.speech) for c in clips]
    assert _casp(bundled, swapped) < true - 0.05


def test_the_bundled_weights_are_small_and_say_how_they_came_about():
    folder = bundle.default_path()
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 5e6
    _, origin = bundle.read_header(folder, "casp")
    assert (
        origin["name"] == "casp_puppet"
        and origin["trained"]["num_steps"] == casp_puppet.get_config().casp_training.num_steps
    )
