"""Script tokenizers: the interface, bytes, Hugging Face files, and the file that a tokenizer reads.

The tokens of a script, with begin and end marker, are part of the prefix of the language model. An empty
script (no speech) consists of the two markers; an unknown script has no tokens.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from dualdub_jax.config import ModelConfig
from dualdub_jax.errors import UserError
from dualdub_jax.parts.import_path import is_import_path
from dualdub_jax.parts.slot import Slot, with_sizes
from dualdub_jax.stores.failures import reached
from dualdub_jax.stores.local_copy import local_copy
from dualdub_jax.stores.path import StorePath, as_path
from dualdub_jax.text.phonemes import PhonemeTokenizer


class Tokenizer(Protocol):
    """The interface of a script tokenizer.

    Optional: the attribute `reads_case`, True if scripts are to reach it with case and punctuation; by
    default they are lower-case words.
    """

    @property
    def vocab_size(self) -> int:
        """Upper bound of the ids that `encode` returns, exclusive."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of `text` between begin and end marker."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, without markers and padding."""
        ...


class ByteTokenizer:
    """UTF-8 bytes: id 0 is padding, 1 to 256 are the bytes, then begin and end.

    Source: our choice; it needs no vocabulary file and has no unknown characters.
    """

    pad_id = 0
    begin_id = 257
    end_id = 258
    vocab_size = 259

    def encode(self, text: str) -> list[int]:
        return [self.begin_id, *(byte + 1 for byte in text.encode("utf-8")), self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        # A truncated sequence may end inside a character, which decodes to U+FFFD.
        return bytes(i - 1 for i in ids if self.pad_id < i < self.begin_id).decode("utf-8", errors="replace")


# Marker names in the vocabularies of public language models, in order of precedence.
_BEGIN_NAMES = (
    "<s>",
    "<bos>",
    "[CLS]",
    "<|begin_of_text|>",
    "<|startoftext|>",
    "<|im_start|>",
    "<|endoftext|>",
)
_END_NAMES = ("</s>", "<eos>", "[SEP]", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>")


class HuggingFaceTokenizer:
    """A Hugging Face `tokenizer.json`, for a backbone initialised from a public language model.

    Markers are added here and not by the file's own template, since many public files have no template, or
    one without an end marker.

    Args:
        path: the `tokenizer.json`, local or on an object store.
        begin_token: name of the begin marker; by default the first known name in the vocabulary.
        end_token: name of the end marker; by default likewise.

    Raises:
        UserError: the file is missing or not a tokenizer, or its vocabulary has no begin or end marker.
    """

    def __init__(
        self, path: str | StorePath, begin_token: str | None = None, end_token: str | None = None
    ) -> None:
        import tokenizers  # not for bytes and phonemes, in each decoding process

        file = reached(as_path(path))
        if not file.is_file():
            raise UserError(f"{path}: no such tokenizer file; give the tokenizer.json of a language model")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(local_copy(file)))
        except Exception as error:  # the package raises bare Exception for any malformed file
            raise UserError(
                f"{path}: not a Hugging Face tokenizer.json ({error}); export one with save_pretrained"
            ) from error
        # The file may define truncation or padding; scripts must not be truncated.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.begin_id = self._marker(path, "begin", (begin_token,) if begin_token else _BEGIN_NAMES)
        self.end_id = self._marker(path, "end", (end_token,) if end_token else _END_NAMES)

    def _marker(self, path: str | StorePath, role: str, names: Sequence[str]) -> int:
        for name in names:
            token_id = self._tokenizer.token_to_id(name)
            if token_id is not None:
                return token_id
        raise UserError(
            f"{path}: has no {role} marker (looked for {', '.join(names)}); "
            f"pass {role}_token with the name that its vocabulary has"
        )

    reads_case = True

    @property
    def vocab_size(self) -> int:
        # Not the number of entries: ids of added tokens may have gaps, and embeddings are indexed by id.
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def encode(self, text: str) -> list[int]:
        return [self.begin_id, *self._tokenizer.encode(text, add_special_tokens=False).ids, self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        markers = (self.begin_id, self.end_id)
        return self._tokenizer.decode([i for i in ids if i not in markers], skip_special_tokens=True)


_OWN = {"bytes": ByteTokenizer, "phonemes": PhonemeTokenizer}


def reads_case(tokenizer: Tokenizer) -> bool:
    """Whether scripts reach a tokenizer with case and punctuation."""
    return getattr(tokenizer, "reads_case", False)


def vocabulary_file(config: ModelConfig) -> StorePath | None:
    """The file that `config.script_tokenizer` names; None for a tokenizer without one."""
    name = config.script_tokenizer
    if _is_tiktoken(name):
        path = TOKENIZERS.find(name)[1].get("path", "")
    else:
        path = "" if name in _OWN or is_import_path(name) else name
    return as_path(path, "model.script_tokenizer") if path else None


def with_vocabulary_file(config: ModelConfig, path: str) -> ModelConfig:
    """The config with another path of its vocabulary file."""
    name = path
    if _is_tiktoken(config.script_tokenizer):
        sizes = TOKENIZERS.find(config.script_tokenizer)[1]
        name = with_sizes(config.script_tokenizer, {**sizes, "path": path})
    return dataclasses.replace(config, script_tokenizer=name)


def _is_tiktoken(name: str) -> bool:
    return name.partition("(")[0] == "tiktoken"


def make_tokenizer(config: ModelConfig) -> Tokenizer:
    """Makes the tokenizer named by `config.script_tokenizer`.

    It is "bytes"; "phonemes" (English); "tiktoken(path='…')"; the import path of a class with the methods of
    `Tokenizer`, its arguments in brackets; or the path of a `tokenizer.json`.

    Raises:
        UserError: the file is missing or malformed, the class cannot be imported or lacks a method, or the
            ids exceed `config.script_vocab_size`.
    """
    name = config.script_tokenizer
    if name in _OWN:
        tokenizer: Tokenizer = _OWN[name]()
    elif is_import_path(name) or _is_tiktoken(name):
        tokenizer = TOKENIZERS.make(name)
    else:
        tokenizer = HuggingFaceTokenizer(as_path(name, "model.script_tokenizer"))
    # A larger embedding table is valid (public models pad theirs); a smaller one would clamp ids silently.
    if tokenizer.vocab_size > config.script_vocab_size:
        raise UserError(
            f"model.script_vocab_size: {config.script_vocab_size} is too small for script_tokenizer="
            f"{config.script_tokenizer!r}; set it to {tokenizer.vocab_size} or more"
        )
    return tokenizer


TOKENIZERS = Slot(
    "config.model.script_tokenizer",
    Tokenizer,
    (),
    {"tiktoken": "dualdub_jax.text.tiktoken_file:TiktokenTokenizer"},
)
