"""Normalisation: what people write becomes the words that they say."""

# ruff: noqa: RUF001 (signs)

import numpy as np
import pytest

from dualdub_jax.data_pipeline.builders.puppet_stage.sentences import draw
from dualdub_jax.text.normaliser import normalise
from dualdub_jax.text.words import join_words


def spoken(text: str) -> str:
    return join_words(normalise(text)[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Lay BLUE at e, nine soon!", "lay blue at e nine soon"),
        ("Café naïve Œuvre Straße", "cafe naive oeuvre strasse"),
        ("R&D: 50% @ home", "r and d fifty percent at home"),
        ("well-known (“quoted”) — yes…", "well known quoted yes"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("", ""),
        (" \n . ! ", ""),
        # Contractions, with apostrophes of all kinds.
        ("Don\u2019t  stop\n\tnow", "don't stop now"),
        ("I'll say we`re, he\u02bcd and y\u2018all could've", "i'll say we're he'd and y'all could've"),
        ("'Tis O'Brien's dogs' rock 'n' roll", "tis o'brien's dogs rock and roll"),
        # Numbers.
        ("7 of 42", "seven of forty two"),
        ("1,234 and 3.05", "one thousand two hundred and thirty four and three point zero five"),
        ("1,2,3", "one two three"),
        ("007 10000000000", "zero zero seven one zero zero zero zero zero zero zero zero zero zero"),
        ("2000000 19 ٣", "two million nineteen three"),
        ("the 21st, 2nd and 103rd", "the twenty first second and one hundred third"),
        ("-5 to +3 °C", "minus five to plus three degrees celsius"),
        ("1/2, ¾ and 3½", "one half three quarters and three and a half"),
        ("24/7 since 9/11", "twenty four seven since nine eleven"),
        ("#1, No. 5 and room 101", "number one number five and room one hundred and one"),
        ("version 2.0.1", "version two point zero point one"),
        # Years, dates and times.
        ("in 1984, the 1990s, the '80s and 1920's", "in nineteen eighty four the nineteen nineties the "
         "eighties and nineteen twenties"),
        ("the 2010s", "the twenty tens"),
        ("1999-2003", "nineteen ninety nine to two thousand three"),
        ("Jan 5, 2020", "january fifth twenty twenty"),
        ("at 10:00, 5:30 pm and 7 a.m.", "at ten o'clock five thirty p m and seven a m"),
        ("Mon-Fri, 9am-5pm", "monday to friday nine a m to five p m"),
        # Money and measures.
        ("$3 million, $5k, -£5 and €2.50",
         "three million dollars five thousand dollars minus five pounds and two euros fifty cents"),
        ("$1.00, 50¢, $5-10 and ¥1,000", "one dollar fifty cents five to ten dollars and one thousand yen"),
        ("5 km, 1 kg, 20 m, 60 mph", "five kilometers one kilogram twenty meters sixty miles per hour"),
        ("100 MB/s at 3GHz", "one hundred megabytes per second at three gigahertz"),
        ("6'2\" and 12\" wide", "six foot two and twelve inches wide"),
        ("\"born in 1984\"", "born in nineteen eighty four"),
        # Relations and signs.
        ("a < b, 5 >= 4", "a less than b five greater than or equal to four"),
        ("5+3=8, 7-3=4", "five plus three equals eight seven minus three equals four"),
        ("5-10 or 3–2", "five to ten or three to two"),
        ("10% ± 2", "ten percent plus or minus two"),
        ("call 555-1234", "call five five five one two three four"),
        ("joe@example.com", "joe at example dot com"),
        ("**bold** and 5 *stars*", "bold and five stars"),
        # Abbreviations, initialisms and Roman numerals.
        ("Dr. Smith met Mrs. Jones on Main St. today.", "doctor smith met missus jones on main street today"),
        ("St. John, e.g. etc.", "saint john for example et cetera"),
        ("The U.S. and the FBI watch TVs, NASA too", "the u s and the f b i watch t v's nasa too"),
        ("SHE SAID HMM, SHH!", "she said hmm shh"),
        ("Chapter IV, Henry VIII, World War II and I", "chapter four henry the eighth world war two and i"),
        ("My friend Ed. Wait a sec. Sat down.", "my friend ed wait a sec sat down"),
    ],
)  # fmt: skip
def test_what_is_written_is_said(text, said):
    words, unspoken = normalise(text)
    assert join_words(words) == said
    assert unspoken == ()


def test_plain_words_are_kept():
    rng = np.random.default_rng(0)
    for kind in ("grid", "free"):
        for _ in range(200):
            sentence = draw(rng, "train", kind)
            assert spoken(sentence) == sentence


def test_characters_without_a_name_are_returned_once():
    words, unspoken = normalise("say ☃ or 犬 or ☃ ™")
    assert join_words(words) == "say or or"
    assert set(unspoken) == {"☃", "犬", "™"}


def test_nothing_breaks_on_odd_text():
    rng = np.random.default_rng(1)
    alphabet = [*"aB Z15.,:;-–'\"()[]/$£%°#@+=<>*&^~ \n½²Ⅳ①é犬", " Dr. ", " IV ", " pm", " km", "th", "'s"]
    for _ in range(30):
        text = "".join(rng.choice(alphabet, 20))
        said = spoken(text)
        assert not set(said) - set("abcdefghijklmnopqrstuvwxyz' "), text
        assert said == spoken(said), text


def test_sentences_are_remembered():
    words, _ = normalise("One two. Three! four. Dr. Who came")
    assert [word.ends_sentence for word in words] == [False, True, True, True, False, False, False]


def test_endless_words_can_be_divided():
    words, _ = normalise("a" * 101 + " end")
    assert join_words(words) == "a" * 101 + " end"
    assert max(len(word.text) for word in words) <= 5
    assert len(normalise("antidisestablishment")[0]) == 1


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Hello, World! It's me.", "Hello, World! It's me."),
        ("\u201cStop!\u201d, she said \u2014 twice .", "Stop!, she said, twice."),
        ("CAF\u00c9 Stra\u00dfe", "CAFE Strasse"),
        ("No marks here", "No marks here"),
        ("x" * 30 + "!", "x" * 30 + "!"),
    ],
)
def test_case_and_punctuation_are_kept_beside_the_words(text, written):
    words, _ = normalise(text)
    assert join_words(words, written=True) == written
    plain = join_words(words)
    assert plain == "".join(c for c in written.lower() if c.isalpha() or c in " '")
