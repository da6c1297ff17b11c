"""The gate of the speech track: exactly zero where nothing is due, exactly the track where something is."""

from fractions import Fraction

import numpy as np
import pytest

from dualdub_jax.dubbing.speech_gate import SpeechGate
from dualdub_jax.dubbing.utterances import Utterance

RATE_HZ = 16_000
MARGIN = 1280  # samples: 80 ms


def cue(start_s: float, end_s: float) -> Utterance:
    return Utterance("hello", Fraction(str(start_s)), Fraction(str(end_s)), (1,))


def gain(*utterances: Utterance, num_samples: int = 160_000, block: int = 7_001) -> np.ndarray:
    gate = SpeechGate(utterances, RATE_HZ, num_samples)
    ones = np.ones(num_samples, np.float32)
    return np.concatenate(list(gate.apply(ones[i : i + block] for i in range(0, num_samples, block))))


def test_open_while_due_and_zero_to_the_sample_elsewhere():
    made = gain(cue(0.3, 3.0), cue(6.0, 8.0))
    is_due, is_near = np.zeros(160_000, bool), np.zeros(160_000, bool)
    for first, end in ((4_800, 48_000), (96_000, 128_000)):
        is_due[first:end] = True
        is_near[first - MARGIN : end + MARGIN] = True
    assert (made[is_due] == 1).all() and not made[~is_near].any()
    assert (np.abs(np.diff(made)) <= 1.01 / MARGIN).all()  # fades without a click


def test_it_does_not_close_between_cues_whose_tolerances_touch():
    assert (gain(cue(1.0, 2.0), cue(2.15, 3.0))[16_000:48_000] == 1).all()
    assert not gain(cue(1.0, 2.0), cue(2.2, 3.0))[33_281:33_919].any()


def test_cues_at_the_ends_of_the_film_are_whole():
    assert (gain(cue(0, 1), cue(9, 10))[[0, 15_999, 144_000, 159_999]] == 1).all()


def test_windows_without_text_are_zero_to_the_sample():
    windows = [Utterance("one", Fraction(0), Fraction(4)), Utterance("two", Fraction(4), Fraction(7))]
    made = gain(*windows)
    assert (made[: 112_000 - MARGIN] == 1).all() and not made[112_000:].any()


@pytest.mark.parametrize("block", [1, 5_000])
def test_a_script_of_all_windows_leaves_the_track_as_it_is(block):
    samples = np.random.default_rng(0).normal(size=32_000).astype(np.float32)
    gate = SpeechGate([Utterance("a", Fraction(0), Fraction(2))], RATE_HZ, 32_000)
    blocks = (samples[i : i + block] for i in range(0, 32_000, block))
    np.testing.assert_array_equal(np.concatenate(list(gate.apply(blocks))), samples)
