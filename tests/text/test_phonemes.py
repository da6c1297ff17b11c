"""Phonemes: the lexicon, what hibari-tts adds to it, and words that nobody can pronounce."""

# ruff: noqa: RUF001 (phonemes look like letters)

import json

import numpy as np
import pytest

from dualdub_jax.configs import puppet
from dualdub_jax.data_pipeline.builders.puppet_stage.lexicon import make_lexicon
from dualdub_jax.data_pipeline.builders.puppet_stage.sentences import draw, vocabulary
from dualdub_jax.errors import UserError
from dualdub_jax.text import phonemes
from dualdub_jax.text.phonemes import LEXICON_FILE, PhonemeTokenizer, spoken_words


@pytest.fixture
def without_hibari(monkeypatch):
    monkeypatch.setattr(phonemes, "_phonemiser", lambda: None)


def test_a_sentence_is_its_phonemes_between_markers(without_hibari):
    tokenizer = PhonemeTokenizer()
    ids = tokenizer.encode("Set red, at seven!")
    assert (ids[0], ids[-1]) == (tokenizer.begin_id, tokenizer.end_id)
    assert tokenizer.decode(ids) == "sˈɛtɹˈɛdætsˈɛvən"
    assert len(ids) == 2 + 3 + 3 + 2 + 5  # a stressed vowel is one token
    assert tokenizer.encode("") == [tokenizer.begin_id, tokenizer.end_id]
    assert PhonemeTokenizer().encode("a") == [tokenizer.begin_id, tokenizer.vocab_size - 1, tokenizer.end_id]


def test_everything_that_a_puppet_says_is_known_and_fits_the_config(without_hibari):
    tokenizer, config = PhonemeTokenizer(), puppet.get_config()
    assert tokenizer.vocab_size <= config.model.script_vocab_size
    rng = np.random.default_rng(0)
    for kind in ("grid", "free"):
        for _ in range(300):
            ids = tokenizer.encode(draw(rng, "train", kind))
            assert len(ids) <= config.grid.num_script_tokens
            assert min(ids) > 0 and max(ids) < tokenizer.vocab_size
    # Words that sound alike are alike; the words of one slot of the grammar never are.
    assert len({tuple(tokenizer.encode(word)) for word in vocabulary()}) > 0.97 * len(vocabulary())


def test_the_lexicon_is_that_of_the_world():
    assert json.loads(LEXICON_FILE.read_text(encoding="utf-8")) == make_lexicon()


def test_other_words_are_pronounced_by_hibari():
    tokenizer = PhonemeTokenizer()
    assert tokenizer.decode(tokenizer.encode("kazoo")) == "kəzˈu"
    assert tokenizer.encode("7") == tokenizer.encode("seven")


def test_contractions_are_pronounced_as_such():
    tokenizer = PhonemeTokenizer()
    assert tokenizer.decode(tokenizer.encode("i'll we're")) == "Ilwɪɹ"
    for word in ("don't", "he'll", "she'd", "won't", "i'd", "o'clock"):
        assert tokenizer.encode(word) != tokenizer.encode(word.replace("'", "")), word


def test_without_hibari_other_words_are_named_and_how_to_get_it(without_hibari):
    with pytest.raises(UserError, match=r"cannot pronounce kazoo, café; .*pip install 'dualdub-jax\[g2p\]'"):
        PhonemeTokenizer().encode("set the kazoo by the café kazoo now")


def test_a_word_without_a_sound_is_named():
    with pytest.raises(UserError, match=r"cannot pronounce ☃?ᚠᚱ; write it out"):
        PhonemeTokenizer().encode("set ᚠᚱ now")


def test_words_are_found_in_any_text():
    assert spoken_words("It’s 9 o'clock -- SAID the_cat…") == ["it’s", "9", "o'clock", "said", "the", "cat"]
