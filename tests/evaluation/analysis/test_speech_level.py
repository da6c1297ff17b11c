import numpy as np
import pytest

from dualdub_jax.evaluation.analysis.speech_level import active_part, at_speech_level


@pytest.fixture(scope="module")
def burst():
    """0.5 s of noise in 2 s of silence."""
    track = np.zeros(32_000, np.float32)
    track[12_000:20_000] = 0.2 * np.random.default_rng(0).standard_normal(8_000)
    return track


def test_level_does_not_depend_on_gain(burst):
    np.testing.assert_allclose(at_speech_level(burst), at_speech_level(burst * 1e-3), atol=1e-5)


@pytest.mark.parametrize("gain", [1.0, 1e-3, 50.0])
def test_the_active_part_is_what_sounds_with_its_margin(burst, gain):
    part = active_part(burst * gain, threshold_db=20, margin_s=0.1)
    assert len(part) == pytest.approx(8_000 + 2 * 1_600, abs=320)
    assert np.sqrt(np.mean(part**2)) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    "track",
    [np.zeros(16_000), np.zeros(0), np.ones(1_000), np.full(16_000, np.nan), np.eye(1, 16_000, 300)[0]],
    ids=["silence", "nothing", "too short", "nan", "one click"],
)
def test_silence_has_no_estimate(track):
    assert at_speech_level(track) is None
    assert active_part(track, 20, 0.1) is None


def test_holes_are_silence(burst):
    holed = burst.copy()
    holed[:100] = np.nan
    np.testing.assert_array_equal(at_speech_level(holed), at_speech_level(burst))
