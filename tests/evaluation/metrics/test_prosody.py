import dataclasses

import numpy as np
import pytest

from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.metrics.prosody import Prosody, pitch_semitones
from tests.evaluation import degrade

NAMES = [figure.name for figure in Prosody.figures]


def _buzz(semitones, loudness=None):
    """Harmonics at `semitones` above 120 Hz, float[S], with a hiss; silent at both ends."""
    pitch_hz = 120 * 2 ** (np.asarray(semitones) / 12)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    wave = sum(np.sin(k * phase) / k for k in range(1, 12)) * (1.0 if loudness is None else loudness)
    wave[:3200] = wave[-3200:] = 0
    hiss = np.random.default_rng(0).standard_normal(len(wave))
    return (0.1 * wave + 1e-4 * hiss).astype(np.float32)


TIME_S = np.arange(20_000) / SAMPLE_RATE_HZ
MELODY = 4 * np.sin(2 * np.pi * 1.7 * TIME_S)
STRESS = 0.55 + 0.45 * np.sin(2 * np.pi * 2.3 * TIME_S)


@pytest.fixture(scope="module")
def clip():
    track = _buzz(MELODY, STRESS)
    return Clip("x", len(track), speech=track, true_speech=track)


def _score(clip):
    values = Prosody().score([clip])
    return {
        figure.name: None if values[figure.name][0] is None else figure.summarise(values[figure.name])
        for figure in Prosody.figures
    }


def _said(clip, samples):
    return dataclasses.replace(clip, speech=samples)


def test_pitch_of_a_known_melody(clip):
    pitch = pitch_semitones(clip.speech.astype(np.float64))[30:-30]
    expected = MELODY[::160][30 : 30 + len(pitch)] + 12 * np.log2(120)
    assert np.isfinite(pitch).mean() > 0.95
    assert np.nanmedian(np.abs(pitch - expected)) < 0.2


def test_the_truth_is_perfect(clip):
    expected = {
        "pitch_correlation": 1,
        "pitch_error_semitones": 0,
        "voicing_error": 0,
        "energy_correlation": 1,
    }
    assert _score(clip) == pytest.approx(expected, abs=1e-9)


def test_a_higher_voice_has_the_same_melody_and_a_known_error(clip):
    figures = _score(_said(clip, _buzz(MELODY + 5, STRESS)))
    assert figures["pitch_correlation"] > 0.97
    assert figures["pitch_error_semitones"] == pytest.approx(5, abs=0.3)
    assert figures["energy_correlation"] > 0.97


def test_another_melody_moves_pitch_and_leaves_energy(clip):
    figures = _score(_said(clip, _buzz(-MELODY, STRESS)))
    assert figures["pitch_correlation"] < -0.9
    assert figures["energy_correlation"] > 0.97


def test_another_stress_moves_energy_and_leaves_pitch(clip):
    figures = _score(_said(clip, _buzz(MELODY, 1.0 - STRESS + 0.1)))
    assert figures["energy_correlation"] < 0.8
    assert figures["pitch_correlation"] > 0.97


def test_a_shift_of_200_ms_is_heard_in_everything(clip):
    figures = _score(degrade.shifted(clip, "speech", 200))
    assert figures["pitch_correlation"] < 0.2 and figures["energy_correlation"] < 0.5
    assert figures["pitch_error_semitones"] > 3 and figures["voicing_error"] > 0.1


def test_gain_changes_nothing(clip):
    figures = _score(degrade.amplified(clip, "speech", -12))
    assert figures["pitch_correlation"] > 0.99 and figures["energy_correlation"] > 0.999
    assert figures["pitch_error_semitones"] < 0.2


def test_silence_and_noise_are_not_voiced(clip):
    for bad in (degrade.silenced(clip, "speech"), degrade.only_noise(clip, "speech")):
        figures = _score(bad)
        assert figures["voicing_error"] > 0.5
        assert abs(figures["energy_correlation"]) < 0.3
    assert _score(degrade.silenced(clip, "speech"))["pitch_correlation"] is None


def test_what_cannot_be_compared_is_none_and_holes_are_survived(clip):
    clips = [
        degrade.without(clip, "speech"),
        degrade.without(clip, "true_speech"),
        degrade.with_length(clip, "speech", 0),
        dataclasses.replace(clip, true_speech=np.zeros(20_000, np.float32)),
    ]
    assert Prosody().score(clips) == {name: [None] * len(clips) for name in NAMES}
    assert all(np.isfinite(v) for v in _score(degrade.with_nan(clip, "speech")).values())
