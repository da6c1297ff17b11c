"""Makes `dualdub_jax/assets/lexicon.json`: the pronunciation of each word of Puppet Stage.

    python -m dualdub_jax.data_pipeline.builders.puppet_stage.lexicon

Run it after a change of `sentences.py`. Source: the phonemiser of `hibari-tts` (Apache-2.0), which also
pronounces the sentences that are synthesised.
"""

import json

from dualdub_jax.data_pipeline.builders.puppet_stage.sentences import vocabulary
from dualdub_jax.text.phonemes import AMBIGUOUS, LEXICON_FILE, pronounce


def make_lexicon() -> dict[str, str]:
    """Phonemes of each word in isolation; a single letter is pronounced as its name."""
    words = [word for word in vocabulary() if word not in AMBIGUOUS]
    return {word: pronounce(word.upper() if len(word) == 1 else word) for word in words}


if __name__ == "__main__":
    text = json.dumps(make_lexicon(), ensure_ascii=False, indent=0)
    LEXICON_FILE.write_text(text + "\n", encoding="utf-8")
