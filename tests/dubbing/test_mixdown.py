"""Stems and mix agree; nothing clips; what is switched off is zero."""

import dataclasses

import numpy as np
import pytest

from dualdub_jax.dubbing import mixdown
from dualdub_jax.dubbing.mixdown import PEAK_CEILING, Mixdown

RNG = np.random.default_rng(0)


@dataclasses.dataclass
class Mixed:
    speech: np.ndarray
    background: np.ndarray
    mix: np.ndarray
    stem_gain: float
    mix_gain: float


def mix_down(speech, background, num_samples: int) -> Mixed:
    made = Mixdown.measure(speech, background, num_samples)
    return Mixed(*made.arrays(), made.stem_gain, made.mix_gain)


def noise(level: float, num_samples: int = 5_000) -> np.ndarray:
    return (level * RNG.uniform(-1, 1, num_samples)).astype(np.float32)


@pytest.mark.parametrize(
    ("speech_level", "background_level"), [(0.2, 0.3), (0.8, 0.8), (3.0, 0.5), (0.0, 0.9)]
)
def test_mix_is_one_gain_times_the_sum(speech_level, background_level):
    made = mix_down(noise(speech_level), noise(background_level), 4_321)
    for track in (made.speech, made.background, made.mix):
        assert track.shape == (4_321,) and track.dtype == np.float32
        np.testing.assert_array_equal(np.round(track * 32768.0), track * 32768.0)
        assert np.abs(track).max() <= PEAK_CEILING + 1 / 32768
    expected = made.mix_gain * (made.speech.astype(float) + made.background)
    assert np.abs(made.mix - expected).max() <= 0.5 / 32768 + 1e-9
    assert 0 < made.mix_gain <= 1 and 0 < made.stem_gain <= 1


def test_quiet_tracks_are_left_alone():
    speech, background = noise(0.2), noise(0.2)
    made = mix_down(speech, background, 5_000)
    assert made.stem_gain == made.mix_gain == 1.0
    np.testing.assert_allclose(made.speech, speech, atol=0.5 / 32768)


def test_a_loud_stem_keeps_its_balance_with_the_other():
    speech, background = noise(2.0), noise(0.5)
    made = mix_down(speech, background, 5_000)
    np.testing.assert_allclose(made.background, background * made.stem_gain, atol=1 / 32768)


def test_switched_off_is_zero_and_not_in_the_mix():
    made = mix_down(None, noise(0.3), 5_000)
    assert not made.speech.any()
    np.testing.assert_array_equal(made.mix, made.background)


@pytest.mark.parametrize(
    ("bad", "message"), [(np.zeros(99), "99 samples"), (np.full(100, np.nan), "not finite")]
)
def test_faults_are_not_hidden(bad, message):
    with pytest.raises(ValueError, match=message):
        mix_down(np.zeros(100), bad, 100)


def test_blocks_make_no_difference(monkeypatch):
    """Gains are those of the whole film: the loudest sample of either is in the last block."""
    speech, background = noise(0.9), noise(0.9)
    speech[-1], background[-1] = 3.0, 2.0
    whole = mix_down(speech, background, 5_000)
    monkeypatch.setattr(mixdown, "BLOCK_SAMPLES", 777)
    parts = mix_down(speech, background, 5_000)
    assert whole.stem_gain == parts.stem_gain < 0.3 and whole.mix_gain == parts.mix_gain < 1
    for name in ("speech", "background", "mix"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_stereo_is_mixed_by_channel_and_one_gain():
    speech, background = noise(0.9, 4_000).reshape(-1, 2), noise(0.8, 4_000).reshape(-1, 2)
    made = Mixdown.measure(speech, background, 1_900, num_channels=2)
    left, right = (
        Mixdown(speech[:, i], background[:, i], 1_900, made.stem_gain, made.mix_gain).arrays()
        for i in range(2)
    )
    for track, one, other in zip(made.arrays(), left, right, strict=True):
        assert track.shape == (1_900, 2) and np.abs(track).max() <= PEAK_CEILING + 1 / 32768
        np.testing.assert_array_equal(track, np.stack([one, other], axis=1))
    silent, _, mix = Mixdown.measure(None, background, 1_900, num_channels=2).arrays()
    assert silent.shape == mix.shape == (1_900, 2) and not silent.any()
