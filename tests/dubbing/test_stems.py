"""Stems are the decoded tracks on the 16-bit lattice, below the ceiling, in their balance."""

import numpy as np
import pytest

from dualdub_jax.dubbing import stems as module
from dualdub_jax.dubbing.stems import PEAK_CEILING, Stems

RNG = np.random.default_rng(0)


def noise(level: float, num_samples: int = 5_000) -> np.ndarray:
    return (level * RNG.uniform(-1, 1, num_samples)).astype(np.float32)


def test_quiet_tracks_are_left_alone():
    decoded = {"speech": noise(0.2), "background": noise(0.2)}
    made = Stems.measure(decoded, 4_321)
    assert made.gain == 1.0
    for name, track in made.arrays().items():
        assert track.shape == (4_321,) and track.dtype == np.float32
        np.testing.assert_array_equal(np.round(track * 32768.0), track * 32768.0)
        np.testing.assert_allclose(track, decoded[name][:4_321], atol=0.5 / 32768)


def test_a_loud_stem_keeps_its_balance_with_the_others():
    decoded = {"speech": noise(2.0), "background": noise(0.5), "original": noise(0.1)}
    made = Stems.measure(decoded, 5_000)
    tracks = made.arrays()
    assert np.abs(tracks["speech"]).max() <= PEAK_CEILING + 1 / 32768
    for name in decoded:
        np.testing.assert_allclose(tracks[name], decoded[name] * made.gain, atol=1 / 32768)


def test_switched_off_is_zero():
    tracks = Stems.measure(
        {"speech": None, "background": noise(0.3, 4_000).reshape(-1, 2)}, 1_900, 2
    ).arrays()
    assert tracks["speech"].shape == tracks["background"].shape == (1_900, 2)
    assert not tracks["speech"].any() and tracks["background"].any()


@pytest.mark.parametrize(
    ("bad", "message"), [(np.zeros(99), "99 samples"), (np.full(100, np.nan), "not finite")]
)
def test_faults_are_not_hidden(bad, message):
    with pytest.raises(ValueError, match=message):
        Stems.measure({"speech": np.zeros(100), "background": bad}, 100)


def test_blocks_make_no_difference(monkeypatch):
    """The gain is that of the whole film: the loudest sample is in the last block."""
    speech, background = noise(0.9), noise(0.9)
    speech[-1] = 3.0
    decoded = {"speech": speech, "background": background}
    whole = Stems.measure(decoded, 5_000)
    monkeypatch.setattr(module, "BLOCK_SAMPLES", 777)
    parts = Stems.measure(decoded, 5_000)
    assert whole.gain == parts.gain < 0.3
    for name, track in whole.arrays().items():
        np.testing.assert_array_equal(parts.arrays()[name], track)
