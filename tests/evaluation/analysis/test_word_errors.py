import jiwer
import numpy as np
import pytest

from dualdub_jax.evaluation.analysis.word_errors import (
    character_errors,
    edit_distance,
    error_rate,
    word_errors,
)


def _random_sentences(count):
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(["bin", "blue", "at", "b", "two"], rng.integers(1, 9))) for _ in range(count)]


@pytest.mark.parametrize(("ours", "theirs"), [(word_errors, jiwer.wer), (character_errors, jiwer.cer)])
def test_rates_equal_jiwers(ours, theirs):
    reference, hypothesis = _random_sentences(40), _random_sentences(80)[40:]
    values = [ours(a, b) for a, b in zip(reference, hypothesis, strict=True)]
    for a, b, value in zip(reference, hypothesis, values, strict=True):
        assert error_rate(value) == pytest.approx(theirs(a, b))
    errors, size = np.sum(values, axis=0)
    assert errors / size == pytest.approx(theirs(reference, hypothesis))


def test_silence_deletes_every_word():
    np.testing.assert_array_equal(word_errors("bin blue now", ""), [3, 3])


def test_an_empty_reference_has_no_rate():
    np.testing.assert_array_equal(word_errors("", "ghost words"), [2, 0])
    assert np.isnan(error_rate(word_errors("", "ghost")))


def test_edit_distance_is_symmetric():
    assert edit_distance("kitten", "sitting") == edit_distance("sitting", "kitten") == 3
