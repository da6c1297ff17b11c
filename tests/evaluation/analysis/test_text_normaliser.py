import pytest

from dualdub_jax.data_pipeline.builders.puppet_stage import sentences
from dualdub_jax.evaluation.analysis.text_normaliser import normalise
from dualdub_jax.evaluation.listeners import closed_grammar


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Lay red by M2, please.", "lay red by m two please"),
        ("set green, X-Zero; now!", "set green x zero now"),
        ("There\u2019s 1,234 & 007", "there is one thousand two hundred thirty four and zero zero seven"),
        ("I don't, can't, won't, cannot", "i do not can not will not can not"),
        ("Ben's 21st 30th 112th", "bens twenty first thirtieth one hundred twelfth"),
        ("$5 is 50% of 2.5", "five dollars is fifty percent of two point five"),
        ("[music] hello (laughs)", "hello"),
        ("Café, the neighbour's colour", "cafe the neighbours color"),
        ("1000000 0 19 40", "one million zero nineteen forty"),
        ("", ""),
        (" ... ", ""),
    ],
)  # fmt: skip
def test_spellings_of_the_same_words_are_equal_and_stay_so(text, expected):
    assert normalise(text) == expected
    assert normalise(expected) == expected


def test_homophones_stay_apart():
    assert normalise("two") != normalise("to")
    assert normalise("4") != normalise("for")


def test_the_closed_grammar_is_puppet_stages():
    assert closed_grammar.SLOTS == sentences.GRID


def test_the_closed_grammar_knows_its_sentences_however_they_are_written():
    assert closed_grammar.holds(normalise("Bin blue at F2 now."))
    assert not closed_grammar.holds(normalise("Bin blue at W2 now."))
    assert not closed_grammar.holds("bin blue at f two")
    assert not closed_grammar.holds("")
