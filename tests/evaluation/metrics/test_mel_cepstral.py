import json
import pathlib

import numpy as np
import pytest

from dualdub_jax.evaluation.analysis.mel_cepstrum import PLAIN, mel_cepstrum
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.metrics.mel_cepstral import MelCepstral, spoken_part
from tests.evaluation import degrade
from tests.golden.buzzing_sentences import made_and_true

GOLDEN = json.loads((pathlib.Path(__file__).parents[2] / "golden" / "pymcd.json").read_text())
PLAIN_NAMES = ("mcd", "mcd_dtw", "mcd_dtw_sl")


def _score(clip):
    return {name: values[0] and float(values[0]) for name, values in MelCepstral().score([clip]).items()}


def _in_the_middle(samples, num_samples=24_000, start=6_000):
    """With a hiss around it that is far below the speech, as in a film."""
    track = 1e-4 * np.random.default_rng(1).standard_normal(num_samples).astype(np.float32)
    track[start : start + len(samples)] += samples
    return track


@pytest.fixture(scope="module")
def clip():
    _, true = made_and_true()
    track = _in_the_middle(true[:12_000])
    return Clip("x", len(track), speech=track, true_speech=track)


@pytest.fixture(scope="module")
def other_words():
    made, _ = made_and_true()
    return _in_the_middle(made[4_000:])


def test_mel_cepstrum_is_that_of_sptk():
    for samples, expected in zip(made_and_true(), GOLDEN["sp2mc"], strict=True):
        np.testing.assert_allclose(mel_cepstrum(samples, PLAIN)[GOLDEN["sp2mc_frame"]], expected, atol=1e-6)


def test_the_pymcd_convention_gives_what_pymcd_prints():
    made, true = made_and_true()
    figures = _score(Clip("x", len(true), speech=made, true_speech=true))
    for name in ("dtw", "dtw_sl"):
        assert figures[f"mcd_{name}_pymcd"] == pytest.approx(GOLDEN["pymcd"][f"{name}_exact"], rel=1e-3)
        # What pymcd itself prints is a little dearer: its warping takes a shortcut.
        assert figures[f"mcd_{name}_pymcd"] == pytest.approx(GOLDEN["pymcd"][name], rel=0.06)
    assert figures["mcd_pymcd"] == pytest.approx(GOLDEN["pymcd"]["plain"], rel=1e-3)


def test_the_truth_scores_zero(clip):
    assert _score(clip) == pytest.approx(dict.fromkeys(_score(clip), 0.0), abs=1e-9)


def test_other_words_and_noise_score_worse_in_every_figure(clip, other_words):
    for worse in (
        degrade.changed(clip, "speech", lambda _: other_words),
        degrade.with_noise(clip, "speech", 5),
    ):
        assert all(value > 2.0 for value in _score(worse).values())


def test_a_shift_of_200_ms_moves_mcd_and_leaves_the_warped_figures(clip):
    figures = _score(degrade.shifted(clip, "speech", 200))
    assert figures["mcd"] > 2.0
    assert figures["mcd_dtw"] < 0.5 and figures["mcd_dtw_sl"] < 0.5


def test_level_is_no_part_of_the_plain_figures(clip):
    figures = _score(degrade.amplified(clip, "speech", -12))
    # Not zero: the hiss around the speech sinks to the noise of 16 bits.
    assert all(figures[name] < 0.5 for name in PLAIN_NAMES)


def test_another_length_costs_in_sl_only(clip):
    figures = _score(degrade.slowed(clip, "speech", 1.3))
    assert figures["mcd_dtw_sl"] == pytest.approx(1.3 * figures["mcd_dtw"], rel=0.05)


def test_the_background_is_not_looked_at(clip, other_words):
    with_background = degrade.changed(
        Clip("x", clip.num_samples, clip.speech, other_words, true_speech=clip.true_speech),
        "background",
        np.zeros_like,
    )
    assert _score(with_background)["mcd"] == 0.0


def test_what_cannot_be_compared_is_none(clip):
    clips = [
        degrade.without(clip, "speech"),
        degrade.without(clip, "true_speech"),
        degrade.with_length(clip, "speech", 0),
        degrade.with_length(clip, "speech", 100),
        Clip("silent truth", 24_000, speech=clip.speech, true_speech=np.zeros(24_000, np.float32)),
    ]
    assert MelCepstral().score(clips) == {f.name: [None] * len(clips) for f in MelCepstral.figures}


def test_a_broken_track_scores_badly_and_does_not_escape(clip):
    silent, holes = degrade.silenced(clip, "speech"), degrade.with_nan(clip, "speech", 0.5, 0.4)
    for broken in (silent, holes):
        assert np.isfinite(_score(broken)["mcd"]) and _score(broken)["mcd"] > 0.5


def test_spoken_part_keeps_the_sound_and_a_tenth_of_a_second_at_least():
    _, true = made_and_true()
    kept = spoken_part(_in_the_middle(true[:12_000]).astype(np.float64))
    assert abs(len(kept) - 12_000) < 800
    assert len(spoken_part(np.zeros(8_000))) == 8_000
    click = np.zeros(8_000)
    click[-1] = 1.0
    assert len(spoken_part(click)) >= 1_600
