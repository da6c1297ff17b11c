import dataclasses

import numpy as np
import pyloudnorm
import pytest

from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.metrics.loudness import Loudness, integrated_lufs
from tests.evaluation import degrade


def _tone(dbfs, hz=997.0, seconds=2.0):
    """A sine whose peak is `dbfs`."""
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (10 ** (dbfs / 20) * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


@pytest.fixture(scope="module")
def clip():
    rng = np.random.default_rng(0)
    speech = _tone(-12, 300) * (1 + np.sin(np.arange(32_000) / 1_500)).astype(np.float32)
    background = 0.02 * rng.standard_normal(32_000).astype(np.float32)
    return Clip(
        "x",
        32_000,
        speech=speech,
        background=background,
        true_speech=speech,
        true_background=background,
    )


def _score(clip):
    return {name: values[0] and float(values[0]) for name, values in Loudness().score([clip]).items()}


def test_calibration_tone():
    # BS.1770: 997 Hz at full scale in one front channel reads -3.01.
    assert integrated_lufs(_tone(0)) == pytest.approx(-3.01, abs=0.1)
    assert integrated_lufs(_tone(-20)) == pytest.approx(-23.01, abs=0.1)


def test_stems_and_mix_read_as_pyloudnorm_reads_them(clip):
    meter = pyloudnorm.Meter(SAMPLE_RATE_HZ)
    figures = _score(clip)
    for name, samples in (
        ("speech", clip.speech),
        ("background", clip.background),
        ("mix", clip.speech + clip.background),
    ):
        expected = meter.integrated_loudness(samples.astype(np.float64))
        assert figures[f"loudness_{name}_lufs"] == pytest.approx(expected, abs=1e-6)
    difference = figures["loudness_speech_lufs"] - figures["loudness_background_lufs"]
    assert figures["loudness_difference_lu"] == pytest.approx(difference)


def test_the_truth_is_balanced_and_a_gain_on_one_stem_is_the_error(clip):
    assert _score(clip)["loudness_balance_error_lu"] == 0
    for gain_db in (-6, 6):
        louder = _score(degrade.amplified(clip, "background", gain_db))
        assert louder["loudness_balance_error_lu"] == pytest.approx(6, abs=0.01)
        assert louder["loudness_speech_lufs"] == pytest.approx(_score(clip)["loudness_speech_lufs"])
        assert louder["loudness_difference_lu"] == pytest.approx(
            _score(clip)["loudness_difference_lu"] - gain_db, abs=0.01
        )


def test_a_gain_on_both_and_a_shift_leave_the_balance(clip):
    both = degrade.amplified(degrade.amplified(clip, "speech", 4), "background", 4)
    assert _score(both)["loudness_balance_error_lu"] < 0.01
    assert _score(degrade.shifted(clip, "background", 200))["loudness_balance_error_lu"] < 1.0


def test_swapped_stems_turn_the_difference_round(clip):
    swapped = _score(degrade.with_tracks_swapped(clip))
    assert swapped["loudness_difference_lu"] == pytest.approx(-_score(clip)["loudness_difference_lu"])


def test_silence_and_less_than_a_block_have_no_loudness(clip):
    silent = _score(degrade.silenced(clip, "speech"))
    assert silent["loudness_speech_lufs"] is None
    assert silent["loudness_difference_lu"] is None
    assert silent["loudness_mix_lufs"] == pytest.approx(silent["loudness_background_lufs"])
    assert integrated_lufs(_tone(0, seconds=0.399)) is None
    assert integrated_lufs(_tone(0, seconds=0.4)) is not None
    assert integrated_lufs(np.zeros(0, np.float32)) is None
    assert integrated_lufs(_tone(-120)) is None


def test_a_stem_that_is_silent_where_the_truth_is_not_has_a_large_balance_error(clip):
    for stream in ("speech", "background"):
        assert _score(degrade.silenced(clip, stream))["loudness_balance_error_lu"] > 30
    silent = np.zeros_like(clip.speech)
    neither = dataclasses.replace(clip, speech=silent, true_speech=silent)
    assert _score(neither)["loudness_balance_error_lu"] is None


def test_a_system_without_stems_has_the_loudness_of_its_mix(clip):
    mixed = dataclasses.replace(clip, speech=None, background=None, mixture=clip.speech)
    figures = _score(mixed)
    assert figures["loudness_mix_lufs"] == pytest.approx(_score(clip)["loudness_speech_lufs"])
    assert figures["loudness_difference_lu"] is None


def test_holes_count_as_silence(clip):
    holes = degrade.with_nan(clip, "speech", 0.5, 0.3)
    assert np.isfinite(_score(holes)["loudness_speech_lufs"])
