"""FAD, KL and inception score, with the packaged network where it is installed, otherwise on embeddings."""

import dataclasses

import numpy as np
import pytest

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.listeners import yamnet
from dualdub_jax.evaluation.metrics.tagger import Tagger
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import puppet_clip


class _Bands:
    """Stands in for the network: fixed projections of the patches, so that the arithmetic is under test."""

    sha256 = "0" * 64

    def __call__(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        means = yamnet.patches(samples).mean(axis=1)
        rng = np.random.default_rng(0)
        return means @ rng.standard_normal((64, 521)) / 8, means @ rng.standard_normal((64, 1024)) / 8


@pytest.fixture(scope="module", params=["bands", "yamnet"])
def tagger(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "bands":
            patch.setattr(yamnet, "load", _Bands)
        yield Tagger()


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [puppet_clip(i, bank_name="tone") for i in range(20)]


def _figures(tagger: Tagger, clips: list[Clip]) -> dict[str, float]:
    values = tagger.score(clips)
    return {f.name: f.summarise([v for v in values[f.name] if v is not None]) for f in tagger.figures}


def test_truth_is_at_distance_zero(tagger, clips):
    figures = _figures(tagger, clips)
    assert figures["fad"] == pytest.approx(0, abs=1e-6)
    assert figures["fad_infinity"] == pytest.approx(0, abs=1e-6)
    assert figures["kl"] == pytest.approx(0, abs=1e-3)  # 521 times 1e-6 is added to the system's side
    assert figures["inception_score"] > 1


def test_noise_moves_the_sets_apart(tagger, clips):
    light = _figures(tagger, [degrade.with_noise_at(clip, "background", -50) for clip in clips])
    heavy = _figures(tagger, [degrade.with_noise_at(clip, "background", -20) for clip in clips])
    assert 0 < light["fad"] < heavy["fad"]
    assert 0 < light["kl"] < heavy["kl"]


def test_shuffling_moves_clips_and_not_the_set(tagger, clips):
    shuffled = _figures(tagger, degrade.shuffled(clips, ["background"]))
    noisy = _figures(tagger, [degrade.with_noise_at(clip, "background", -20) for clip in clips])
    assert shuffled["kl"] > 0.1
    assert shuffled["fad"] < 0.2 * noisy["fad"]


def test_swapped_tracks_are_far_away(tagger, clips):
    assert _figures(tagger, [degrade.with_tracks_swapped(clip) for clip in clips])["fad"] > 1


def test_what_is_missing_has_no_value(tagger, clips):
    clip = clips[0]
    values = tagger.score([degrade.without(clip, "background"), degrade.without(clip, "true_background")])
    assert all(values[name] == [None, None] for name in ("fad", "fad_infinity", "kl"))
    assert values["inception_score"][0] is None
    assert values["inception_score"][1].shape == (521,)


def test_odd_tracks_are_no_error(tagger, clips):
    clip = clips[0]
    odd = [
        degrade.with_nan(clip, "background"),
        degrade.clipped(clip, "background"),
        degrade.silenced(clip, "background"),
        degrade.with_length(clip, "background", 0),
        degrade.with_length(clip, "background", 3 * clip.num_samples),
        dataclasses.replace(clip, num_samples=200),
    ]
    for values in tagger.score(odd).values():
        assert all(np.isfinite(value).all() for value in values)
