"""Takes are ranked by the faults of their speech, then by all scores."""

from fractions import Fraction

import pytest

from dualdub_jax.dubbing.speech_check import SpokenUtterance
from dualdub_jax.dubbing.take import FinishedTake
from dualdub_jax.dubbing.take_ranking import FAULTS, TIMING_ERROR, rank_takes, take_scores, take_table
from dualdub_jax.dubbing.utterances import Utterance

DUE = Utterance("hello you", Fraction(1), Fraction(3), (1,))


def take(seed: int, span_s: tuple[float, float] | None, **scores: float | None) -> FinishedTake:
    spoken = (SpokenUtterance(DUE, span_s),)
    return FinishedTake(seed, {}, spoken, -50.0, scores=scores)


def test_scores_of_speech():
    assert take_scores(take(0, (1.0, 3.04), casp=0.5)) == {
        FAULTS: 0,
        TIMING_ERROR: pytest.approx(40),
        "casp": 0.5,
    }
    assert take_scores(take(0, None)) == {FAULTS: 1, TIMING_ERROR: None}
    assert take_scores(FinishedTake(0, {})) == {FAULTS: None, TIMING_ERROR: None}


def test_faults_count_before_all_else():
    takes = {1: take(0, None, casp=0.9), 2: take(1, (1.0, 3.5), casp=0.8), 3: take(2, (1.2, 2.9), casp=0.1)}
    assert rank_takes(takes)[0] == 3


def test_scores_are_weighed_by_their_order():
    takes = {
        1: take(0, (1.0, 3.05), av=0.1, casp=0.2),
        2: take(1, (1.0, 3.0), av=0.3, casp=0.9),
        3: take(2, (1.0, 3.0), av=0.2, casp=None),
    }
    # Points: take 1 has two better ones by time and by av, one by casp; take 3 one by av, two by casp.
    assert rank_takes(takes) == [2, 3, 1]
    assert rank_takes({2: take(1, (1.0, 3.0)), 1: take(0, (1.0, 3.0))}) == [1, 2]
    assert rank_takes({1: FinishedTake(0, {}), 2: FinishedTake(1, {}, scores={})}) == [1, 2]


def test_the_table_lists_the_best_first():
    takes = {1: take(4, (1.0, 3.05), av=0.25), 2: take(5, (1.0, 3.0), av=None)}
    lines = take_table(takes, [2, 1])
    assert [line.split() for line in lines] == [
        ["take", "seed", "faults", "of", "speech", "timing", "error,", "ms", "av"],
        ["2", "5", "0", "0", "-"],
        ["1", "4", "0", "50", "0.25"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_a_take_without_the_scores_of_others_comes_last():
    takes = {1: take(4, (1.0, 3.0), av=0.25), 2: take(5, (1.0, 3.0))}
    for order in ((1, 2), (2, 1)):
        some = {number: takes[number] for number in order}
        assert rank_takes(some) == [1, 2]
        assert [line.split()[-1] for line in take_table(some, [2, 1])] == ["av", "-", "0.25"]
