"""Script tokenizers: round trips, markers, and tokenizers that do not fit."""

import dataclasses
import pathlib

import pytest
import tokenizers

from dualdub_jax.config import ModelConfig
from dualdub_jax.errors import UserError
from dualdub_jax.text.tokenizer import ByteTokenizer, HuggingFaceTokenizer, make_tokenizer

TEXT = "place red at q nine now, café ☕"


def _write(path: pathlib.Path, *added: str) -> pathlib.Path:
    """A byte-level BPE tokenizer.json trained on one sentence, with `added` special tokens."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(added),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    tokenizer.enable_truncation(4)  # a file may carry this; scripts must come through whole
    tokenizer.save(str(path))
    return path


def test_bytes_round_trip_within_the_vocabulary() -> None:
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(TEXT)
    assert ids[0] == tokenizer.begin_id
    assert ids[-1] == tokenizer.end_id
    assert len(ids) == len(TEXT.encode()) + 2
    assert all(0 < i < tokenizer.vocab_size for i in ids)
    assert tokenizer.decode([*ids, tokenizer.pad_id, tokenizer.pad_id]) == TEXT


def test_bytes_cut_inside_a_character_still_decode() -> None:
    ids = ByteTokenizer().encode("é")
    assert ByteTokenizer().decode(ids[:2]) == "\ufffd"


def test_the_byte_vocabulary_is_the_configs_default() -> None:
    assert make_tokenizer(ModelConfig()).vocab_size == ModelConfig().script_vocab_size


@pytest.mark.parametrize("markers", [("<s>", "</s>"), ("<|im_start|>", "<|im_end|>")])
def test_hugging_face_round_trip(tmp_path: pathlib.Path, markers: tuple[str, str]) -> None:
    tokenizer = HuggingFaceTokenizer(_write(tmp_path / "tokenizer.json", *markers))
    ids = tokenizer.encode(TEXT)
    assert (ids[0], ids[-1]) == (tokenizer.begin_id, tokenizer.end_id) == (0, 1)
    assert max(ids) < tokenizer.vocab_size
    assert tokenizer.decode(ids) == TEXT
    assert tokenizer.encode("") == [0, 1]


def test_markers_can_be_named(tmp_path: pathlib.Path) -> None:
    path = _write(tmp_path / "tokenizer.json", "<s>", "</s>", "<script>", "</script>")
    tokenizer = HuggingFaceTokenizer(path, begin_token="<script>", end_token="</script>")
    assert tokenizer.encode("") == [2, 3]


def test_a_tokenizer_without_markers_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer.json: has no end marker"):
        HuggingFaceTokenizer(_write(tmp_path / "tokenizer.json", "<s>"))


def test_a_missing_or_malformed_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError, match=r"none.json: no such tokenizer file"):
        make_tokenizer(ModelConfig(script_tokenizer=str(tmp_path / "none.json")))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match=r"bad.json: not a Hugging Face tokenizer.json"):
        make_tokenizer(ModelConfig(script_tokenizer=str(tmp_path / "bad.json")))


def test_a_vocabulary_that_is_too_small_names_the_size(tmp_path: pathlib.Path) -> None:
    path = _write(tmp_path / "tokenizer.json", "<s>", "</s>")
    size = HuggingFaceTokenizer(path).vocab_size
    config = ModelConfig(script_tokenizer=str(path), script_vocab_size=size)
    assert make_tokenizer(config).vocab_size == size
    with pytest.raises(UserError, match=f"script_vocab_size: {size - 1} is too small.*{size} or more"):
        make_tokenizer(dataclasses.replace(config, script_vocab_size=size - 1))
