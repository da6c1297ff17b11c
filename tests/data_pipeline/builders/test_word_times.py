"""Times of words by forced alignment, against those of a synthesiser that knows them."""

import numpy as np
import pytest

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.builders.clips.sound import Sound
from dualdub_jax.data_pipeline.builders.clips.spoken import spoken_words
from dualdub_jax.data_pipeline.builders.clips.word_times import align, check_aligner
from dualdub_jax.data_pipeline.builders.puppet_stage import clip
from dualdub_jax.errors import UserError


def test_aligned_words_are_where_they_were_synthesised() -> None:
    errors_s = []
    for index in range(3):
        made = clip.to_record(clip.make_clip("hibari", "text_speech", 0, "train", index))
        script, length_s = record.script(made), float(made["duration_s"])
        if not script:
            continue
        sound = Sound(record.decode_stem(made["speech"], "x", length_s, 24_000), 24_000)
        found, true = align(sound, script), record.timings(made, "x", "words")
        assert [text for text, _, _ in found] == script.split()
        errors_s += [abs(a[1] - b[1]) for a, b in zip(found[1:], true[1:], strict=True)]
    assert len(errors_s) >= 8 and np.median(errors_s) < 0.08


def test_what_cannot_be_aligned_has_no_times() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)
    assert align(Sound(noise, 16_000), "xyzzyqq hello") == ()  # no word of English
    assert align(Sound(noise[:400], 16_000), "far too many words for this") == ()
    assert align(None, "hello") == align(Sound(noise, 16_000), "") == ()


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--align-words: needs the package pocketsphinx; pip install"):
        check_aligner()


def test_words_that_become_several_share_their_time() -> None:
    words = (("Mr.", 0.0, 0.3), ("42", 0.4, 0.8), ("--", 0.8, 0.9), ("Ünser", 1.0, 1.5))
    spoken = spoken_words(words, "en")
    assert [text for text, _, _ in spoken] == ["mister", "forty", "two", "unser"]
    assert spoken[1][1:] == pytest.approx((0.4, 0.6)) and spoken[2][1:] == pytest.approx((0.6, 0.8))
    assert [text for text, _, _ in spoken_words(words, "de")] == ["Mr.", "42", "--", "Ünser"]
