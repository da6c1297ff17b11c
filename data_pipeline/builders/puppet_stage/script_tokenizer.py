"""Makes `dualdub_jax/assets/words.json`: byte pairs merged until each word of Puppet Stage is one token.

    python -m data_pipeline.builders.puppet_stage.script_tokenizer

Run it after a change of `sentences.py`; a model is trained with one such file and reads with no other.
"""

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from data_pipeline.builders.puppet_stage.sentences import vocabulary
from dualdub_jax.tokenizer import WORDS_FILE


def learn_tokenizer() -> tokenizers.Tokenizer:
    """Byte-level BPE (Sennrich et al., 2016) over the world's words; other words are cut into pieces."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2**16,  # never reached: merging ends with the words
        min_frequency=1,
        initial_alphabet=alphabet,
        special_tokens=["<s>", "</s>"],
        show_progress=False,
    )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    tokenizer.train_from_iterator(vocabulary(), trainer)
    return tokenizer


if __name__ == "__main__":
    learn_tokenizer().save(str(WORDS_FILE))
