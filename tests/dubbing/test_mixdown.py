"""Stems and mix agree; nothing clips; loudness and true peaks are those that are asked for."""

import json

import numpy as np
import pyloudnorm
import pytest
import scipy.signal

from dualdub_jax.dubbing import mixdown
from dualdub_jax.dubbing.ducking import Ducking
from dualdub_jax.dubbing.mix_settings import MixSettings
from dualdub_jax.dubbing.mix_warnings import mix_warnings
from dualdub_jax.dubbing.mixdown import Mixdown
from dualdub_jax.dubbing.stems import PEAK_CEILING, Stems

RNG = np.random.default_rng(0)
RATE_HZ = 16_000


def noise(level: float, num_samples: int = 5_000) -> np.ndarray:
    return (level * RNG.uniform(-1, 1, num_samples)).astype(np.float32)


def stems_of(*tracks: np.ndarray) -> dict[str, np.ndarray]:
    names = ("speech", "background", "original")[: len(tracks)]
    return Stems.measure(dict(zip(names, tracks, strict=True)), len(tracks[0]), tracks[0].ndim).arrays()


def scene(seconds: float, rate_hz: int, num_channels: int = 1, level: float = 0.1) -> dict[str, np.ndarray]:
    """Bursts of buzzing speech, and noise with clicks."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    speech = level * scipy.signal.sawtooth(2 * np.pi * 140 * time_s) * (np.sin(2 * np.pi * time_s / 2) > 0)
    background = 0.2 * level * RNG.standard_normal(len(time_s))
    background[:: rate_hz // 3] += 4 * level
    tracks = [np.stack([track, 0.5 * track], axis=1)[:, :num_channels] for track in (speech, background)]
    return stems_of(*(track[:, 0] if num_channels == 1 else track for track in tracks))


def true_peak_db(samples: np.ndarray) -> float:
    return 20 * np.log10(np.abs(scipy.signal.resample_poly(samples, 4, 1, axis=0)).max())


@pytest.mark.parametrize(
    ("speech_level", "background_level"), [(0.2, 0.3), (0.8, 0.8), (3.0, 0.5), (0.0, 0.9)]
)
def test_mix_is_one_gain_times_the_sum(speech_level, background_level):
    stems = stems_of(noise(speech_level), noise(background_level), noise(0.2))
    made = Mixdown.measure(stems, RATE_HZ)
    mix = made.array()
    assert np.abs(mix).max() <= PEAK_CEILING + 1 / 32768
    np.testing.assert_array_equal(np.round(mix * 32768.0), mix * 32768.0)
    expected = made.mix_gain * sum(stem.astype(float) for stem in stems.values())
    assert np.abs(mix - expected).max() <= 0.5 / 32768 + 1e-9
    assert 0 < made.mix_gain <= 1 and made.limiter is None and made.loudness is None


def test_the_background_is_ducked_under_speech_and_the_stems_are_not():
    stems = stems_of(noise(0.2, 64_000), noise(0.2, 64_000), noise(0.1, 64_000))
    ducking = Ducking.under([(1.5, 2.0)], 9.0)
    made = Mixdown.measure(stems, RATE_HZ, ducking=ducking)
    gains = ducking.gains(0, 64_000, RATE_HZ)
    assert gains[0] == 1.0 and gains[28_000] == pytest.approx(10 ** (-9 / 20))
    others = stems["background"].astype(float) + stems["original"]
    expected = made.mix_gain * (stems["speech"] + gains * others)
    assert np.abs(made.array() - expected).max() <= 0.5 / 32768 + 1e-9


@pytest.mark.parametrize(
    ("rate_hz", "num_channels", "lufs", "true_peak"),
    [
        (16_000, 1, -23.0, None),
        (24_000, 1, -31.0, -3.0),
        (44_100, 2, -16.0, -1.0),
        (48_000, 1, -18.0, -6.0),
        (22_050, 2, -13.0, -1.0),
        (11_025, 1, -24.0, -2.0),
    ],
)
def test_loudness_and_true_peak_are_met(rate_hz, num_channels, lufs, true_peak):
    stems = scene(4.0, rate_hz, num_channels)
    made = Mixdown.measure(stems, rate_hz, MixSettings(lufs=lufs, true_peak=true_peak))
    mix = made.array()
    measured = pyloudnorm.Meter(rate_hz).integrated_loudness(mix.astype(np.float64))
    assert measured == pytest.approx(lufs, abs=0.2)
    assert made.loudness.after_lufs == pytest.approx(measured, abs=0.01)
    limit = -1.0 if true_peak is None else true_peak
    assert true_peak_db(mix) <= limit and made.loudness.true_peak_dbtp <= limit
    plain = made.mix_gain * (stems["speech"].astype(float) + stems["background"])
    if made.loudness.limited_db == 0:
        assert np.abs(mix - plain).max() <= 0.5 / 32768 + 1e-9
    else:  # peaks are lowered, and the rest is not
        assert np.abs(mix).max() < np.abs(plain).max()
        assert np.mean(np.abs(mix - plain) <= 0.5 / 32768 + 1e-9) > 0.3


def test_a_limit_without_a_loudness_lowers_the_whole_mix():
    stems = scene(2.0, RATE_HZ, level=0.5)
    made = Mixdown.measure(stems, RATE_HZ, MixSettings(true_peak=-12.0))
    assert made.limiter is None and true_peak_db(made.array()) <= -12.0
    assert made.mix_gain < 1 and made.loudness.limited_db == 0


def test_silence_has_no_loudness_and_is_not_amplified():
    zeros = np.zeros(RATE_HZ, np.float32)
    made = Mixdown.measure(stems_of(zeros, zeros), RATE_HZ, MixSettings(lufs=-23))
    assert made.mix_gain == 1 and not made.array().any() and made.loudness.before_lufs is None
    short = Mixdown.measure(stems_of(noise(0.5, 6_000), noise(0.5, 6_000)), RATE_HZ, MixSettings(lufs=-23))
    assert short.mix_gain <= 1
    for mix in (made, short):
        assert mix_warnings(MixSettings(lufs=-23), mix.loudness) == [
            "the mix is silent or shorter than 0.4 s and has no loudness: --lufs -23 changes nothing",
        ]


def test_a_whisper_is_not_raised_without_bound():
    soft = noise(0.001, 2 * RATE_HZ)
    made = Mixdown.measure(stems_of(0 * soft, soft), RATE_HZ, MixSettings(lufs=-16))
    assert made.mix_gain == pytest.approx(10 ** (mixdown.MAX_GAIN_DB / 20))
    (warning,) = mix_warnings(MixSettings(lufs=-16), made.loudness)
    assert "LUFS and not -16 LUFS: it is not raised by more than 30 dB" in warning


def test_a_loudness_that_the_limit_forbids_is_named():
    settings = MixSettings(lufs=-5, true_peak=-20)
    made = Mixdown.measure(scene(2.0, RATE_HZ), RATE_HZ, settings)
    (warning,) = mix_warnings(settings, made.loudness)
    assert "the limit of -20 dBTP leaves no room" in warning and "choose a lower --lufs or a hi" in warning
    assert true_peak_db(made.array()) <= -20


def test_deeply_limited_peaks_are_named_with_a_loudness_that_is_gentle():
    stems, settings = scene(4.0, RATE_HZ), MixSettings(lufs=-14)
    made = Mixdown.measure(stems, RATE_HZ, settings)
    assert made.loudness.limited_db > 6
    (warning,) = mix_warnings(settings, made.loudness)
    assert f"lowers peaks of the mix by up to {made.loudness.limited_db:.1f} dB" in warning
    advised = MixSettings(lufs=float(warning.split("choose --lufs ")[1]))
    assert -26 < advised.lufs < -14
    gentle = Mixdown.measure(stems, RATE_HZ, advised)
    assert gentle.loudness.limited_db <= 6 and mix_warnings(advised, gentle.loudness) == []


def test_blocks_make_no_difference(monkeypatch):
    stems, settings = scene(2.0, RATE_HZ), MixSettings(lufs=-14)
    ducking = Ducking.under([(0.5, 1.0)], 12.0)
    whole = Mixdown.measure(stems, RATE_HZ, settings, ducking)
    mix = whole.array()
    monkeypatch.setattr(mixdown, "BLOCK_SAMPLES", 1_777)
    parts = Mixdown.measure(stems, RATE_HZ, settings, ducking)
    assert whole.loudness.limited_db > 1
    assert parts.mix_gain == pytest.approx(whole.mix_gain, rel=1e-9)
    np.testing.assert_array_equal(parts.array(), mix)
    np.testing.assert_array_equal(whole.part(5_000, 9_000), mix[5_000:9_000])


def test_a_mix_is_made_again_of_its_description():
    stems = scene(2.0, RATE_HZ)
    made = Mixdown.measure(stems, RATE_HZ, MixSettings(lufs=-16), Ducking.under([(0.5, 1.0)], 12.0), 0.5)
    assert made.loudness.limited_db > 0
    again = Mixdown.restore(stems, RATE_HZ, json.loads(json.dumps(made.describe())))
    assert again == made
    plain = Mixdown.measure(stems, RATE_HZ)
    assert Mixdown.restore(stems, RATE_HZ, plain.describe()) == plain


def test_stereo_is_mixed_by_channel_and_one_gain():
    stereo = stems_of(noise(0.9, 4_000).reshape(-1, 2), noise(0.8, 4_000).reshape(-1, 2))
    made = Mixdown.measure(stereo, RATE_HZ)
    mix = made.array()
    assert mix.shape == (2_000, 2) and np.abs(mix).max() <= PEAK_CEILING + 1 / 32768
    for side in range(2):
        one = Mixdown({name: stem[:, side] for name, stem in stereo.items()}, RATE_HZ, mix_gain=made.mix_gain)
        np.testing.assert_array_equal(one.array(), mix[:, side])
