"""Scripts in other languages are noticed; English ones are not suspected."""

import numpy as np
import pytest

from dualdub_jax.data_pipeline.builders.puppet_stage.sentences import draw
from dualdub_jax.text.language import foreign_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("bonjour tout le monde, comment allez-vous", "French"),
        ("der Hund läuft schnell durch den Wald", "German"),
        ("yo no hablo inglés muy bien", "Spanish"),
        ("dove si trova la stazione", "Italian"),
        ("kissa nukkuu sohvalla tänään", "Finnish"),
    ],
)
def test_other_languages_are_named(text, language):
    assert foreign_language(text) == language


def test_english_is_not_suspected():
    rng = np.random.default_rng(2)
    sentences = [draw(rng, "train", kind) for kind in ("grid", "free") for _ in range(100)]
    for sentence in [*sentences, "", "hello", "oh no", "we're late", "the quick brown fox", "tick tick tick"]:
        assert foreign_language(sentence) is None, sentence
