"""Scripts as tokens of tiktoken's BPE: a local file, checked by its hash, and carried by bundles."""

import base64
import dataclasses
import hashlib

import pytest

from dualdub_jax.config import ModelConfig
from dualdub_jax.errors import UserError
from dualdub_jax.text.tokenizer import make_tokenizer, reads_case, vocabulary_file, with_vocabulary_file

MERGES = (b"he", b"ll", b"hell", b"hello", b" w", b"or", b"ld", b" wor", b" world", b"He", b"Hello")


def write_vocabulary(path, merges=MERGES) -> str:
    """Writes a small .tiktoken file; returns its sha256."""
    tokens = [*(bytes([byte]) for byte in range(256)), *merges]
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)]
    path.write_text("".join(lines))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def config_of(path, vocab_size=300, **sizes):
    given = ", ".join(f"{key}={value!r}" for key, value in {"path": str(path), **sizes}.items())
    return ModelConfig(script_tokenizer=f"tiktoken({given})", script_vocab_size=vocab_size)


def tokenizer_of(path, **sizes):
    return make_tokenizer(config_of(path, **sizes))


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "small.tiktoken"
    return path, write_vocabulary(path)


def test_words_become_merged_tokens_between_markers_and_back(vocabulary):
    path, sha256 = vocabulary
    tokenizer = tokenizer_of(path, sha256=sha256)
    first = 256
    assert tokenizer.vocab_size == first + len(MERGES) + 1
    end = tokenizer.vocab_size - 1
    assert tokenizer.encode("hello world") == [end, first + 3, first + 8, end]
    assert tokenizer.encode("Hello") == [end, first + 10, end]  # another token than "hello"
    assert tokenizer.encode("") == [end, end]
    for text in ("Hello, World! It's 3 o'clock…", "日本", "<|endoftext|>"):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert ids.count(end) == 2  # the name of a marker in a script is text
        assert max(ids) < tokenizer.vocab_size


@pytest.mark.parametrize("encoding", ["r50k_base", "p50k_base", "cl100k_base", "o200k_base"])
def test_encodings_split_text_as_the_library_does(vocabulary, encoding, monkeypatch):
    import tiktoken_ext.openai_public as public

    from dualdub_jax.text import tiktoken_file

    monkeypatch.setattr(public, "load_tiktoken_bpe", lambda url, expected_hash: {"hash": expected_hash})
    theirs, ours = getattr(public, encoding)(), tiktoken_file.ENCODINGS[encoding]
    assert ours.pattern == theirs["pat_str"]
    assert ours.sha256 == theirs["mergeable_ranks"]["hash"]
    assert ours.end_of_text == theirs["special_tokens"]["<|endoftext|>"]
    path, sha256 = vocabulary
    text = "I'LL pay 12345 dollars,\n\nshe's   sure."
    tokenizer = tokenizer_of(path, encoding=encoding, sha256=sha256)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_scripts_reach_it_with_case(vocabulary):
    path, sha256 = vocabulary
    assert reads_case(tokenizer_of(path, sha256=sha256))
    assert not reads_case(make_tokenizer(ModelConfig()))


def test_a_bundle_can_name_the_file_anew(vocabulary, tmp_path):
    path, sha256 = vocabulary
    config = config_of(path, sha256=sha256, encoding="r50k_base")
    assert str(vocabulary_file(config)) == str(path)
    moved = tmp_path / "it's elsewhere.tiktoken"
    path.rename(moved)
    config = with_vocabulary_file(config, str(moved))
    assert vocabulary_file(config) == moved
    assert make_tokenizer(config).decode(make_tokenizer(config).encode("Hi")) == "Hi"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": ""}, r"its sha256 is [0-9a-f]{64}, expected that of cl100k_base, 223921b76ee99bde"),
        ({"sha256": "0" * 64}, r"its sha256 is [0-9a-f]{64}, expected sha256=0{64}; download it again"),
        ({"path": "none.tiktoken"}, r"none.tiktoken'\): no such file; download https://.*/cl100k_base"),
        ({"path": ""}, r"path=''\): no such file"),
        ({"encoding": "cl100k"}, r"encoding='cl100k'\): is none of r50k_base, p50k_base, cl100k_base"),
        ({"vocab_size": 10}, r"script_vocab_size: 10 is too small for script_tokenizer=.* set it to 268"),
    ],
)
def test_what_does_not_fit_is_named(vocabulary, change, message):
    path, sha256 = vocabulary
    with pytest.raises(UserError, match=message):
        make_tokenizer(config_of(**{"path": path, "sha256": sha256, **change}))


@pytest.mark.parametrize("content", [b"", b"aGk= 0\n", b"hello\n", b"\x00\xff\n", b"aGk= x\n"])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "other.tiktoken"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"other\.tiktoken: not a \.tiktoken file"):
        tokenizer_of(path, sha256=hashlib.sha256(content).hexdigest())


def test_without_the_library_the_mend_is_named(vocabulary, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tiktoken", None)
    path, sha256 = vocabulary
    with pytest.raises(UserError, match=r"pip install 'dualdub-jax\[tiktoken\]'"):
        tokenizer_of(path, sha256=sha256)


def test_a_wrong_size_in_brackets_is_named(vocabulary):
    config = dataclasses.replace(ModelConfig(), script_tokenizer="tiktoken(file='x')")
    with pytest.raises(UserError, match="file is not a size of it; those are: path, encoding, sha256"):
        make_tokenizer(config)
