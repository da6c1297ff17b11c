"""Settings of the mix are checked before any work."""

import math

import pytest

from dualdub_jax.dubbing.mix_settings import MixSettings
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (["music.wav=-12dB", "film=-6"], {"music.wav": -12.0, "film": -6.0}),
        (["a=b.wav=+3.5 DB"], {"a=b.wav": 3.5}),
        ("film=0", {"film": 0.0}),
        ({"music.wav": -12}, {"music.wav": -12}),
        (["x.flac=-.5db"], {"x.flac": -0.5}),
    ],
)
def test_sounds_and_their_gains(texts, kept):
    settings = MixSettings(keep_original=texts)
    settings.check()
    assert settings.keep_original == kept
    assert [str(path) for path in settings.inputs] == [name for name in kept if name != "film"]


@pytest.mark.parametrize("text", ["music.wav", "music.wav=loud", "=-12dB", "music.wav=", "film=-12dBFS", ""])
def test_a_sound_without_a_gain_is_named(text):
    with pytest.raises(
        UserError, match=r"\(--keep-original\): .* names no sound with its gain; give FILE=GAIN"
    ):
        MixSettings(keep_original=[text])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lufs": 23}, r"lufs \(--lufs\) is 23: choose from -50 to -5 LUFS"),
        ({"lufs": math.nan}, r"lufs \(--lufs\) is nan"),
        ({"lufs": "-23"}, r"lufs \(--lufs\) is -23: choose"),
        ({"true_peak": 1.0}, r"true_peak \(--true-peak\) is 1: choose from -20 to 0 dBTP"),
        ({"duck": -9}, r"duck \(--duck\) is -9: choose from 0 to 40 dB"),
        ({"keep_original": {"a.wav": 60}}, r"the gain of a.wav is 60: choose from -60 to 20 dB"),
    ],
)
def test_numbers_out_of_range_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        DubRequest("film.mp4", mix=settings).check()


def test_a_request_takes_settings_by_name():
    request = DubRequest("film.mp4", mix={"lufs": -23, "keep_original": ["m.wav=-3"]})
    assert request.mix == MixSettings(lufs=-23, keep_original={"m.wav": -3.0})
    assert [str(path) for path in request.inputs] == ["film.mp4", "m.wav"]
    assert request.mix.limit_dbtp == -1 and DubRequest("film.mp4").mix.limit_dbtp is None
    with pytest.raises(UserError, match=r"mix: no setting loud; there are lufs, true_peak, duck, keep_orig"):
        DubRequest("film.mp4", mix={"loud": 1})
    with pytest.raises(UserError, match=r"m\.wav is named twice"):
        MixSettings(keep_original=["m.wav=-3", "m.wav=-4"])
