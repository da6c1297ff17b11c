"""Script tokens by tiktoken's BPE, from a local `.tiktoken` file."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import reached
from dualdub_jax.stores.path import as_path


class Encoding(NamedTuple):
    """A public encoding: how text is split before BPE, the id of its end marker, and the hash of its file."""

    pattern: str
    end_of_text: int
    sha256: str


_R50K = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
_CL100K = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"""
    r"""|\s*[\r\n]|\s+(?!\S)|\s"""
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_O200K = "|".join(
    (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}",
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    )
)
# Source: tiktoken_ext/openai_public.py, which can only construct them from a download.
ENCODINGS = {
    "r50k_base": Encoding(_R50K, 50256, "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"),
    "p50k_base": Encoding(_R50K, 50256, "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"),
    "cl100k_base": Encoding(
        _CL100K, 100257, "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
    ),
    "o200k_base": Encoding(
        _O200K, 199999, "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
    ),
}
_PAGE = "https://openaipublic.blob.core.windows.net/encodings"


class TiktokenTokenizer:
    """Implements `text.tokenizer.Tokenizer`; the end-of-text marker is both begin and end.

    Source: the paper's scripts are BPE tokens of tiktoken; its encoding and markers are unstated, our choice.

    Args:
        path: a `.tiktoken` file, local or on an object store.
        encoding: name of the encoding, which splits text before BPE; one of `ENCODINGS`.
        sha256: of the file; empty: that of the public encoding. For a vocabulary of one's own.

    Raises:
        UserError: an unknown encoding, no such file, a file of another hash or not of this format, or
            tiktoken is not installed.
    """

    reads_case = True

    def __init__(self, path: str = "", encoding: str = "cl100k_base", sha256: str = "") -> None:
        if encoding not in ENCODINGS:
            raise UserError(f"tiktoken(encoding={encoding!r}): is none of {', '.join(ENCODINGS)}")
        public = ENCODINGS[encoding]
        file = reached(as_path(path, "model.script_tokenizer"))
        if not path or not file.is_file():
            raise UserError(
                f"tiktoken(path={path!r}): no such file; download {_PAGE}/{encoding}.tiktoken, or give "
                "a vocabulary of your own with its sha256"
            )
        content = file.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != (sha256 or public.sha256):
            of = "sha256=" if sha256 else f"that of {encoding}, "
            raise UserError(
                f"{path}: its sha256 is {found}, expected {of}{sha256 or public.sha256}; download it again, "
                "or give the sha256 of a vocabulary of your own"
            )
        ranks = _ranks(content, path)
        end = public.end_of_text if found == public.sha256 else max(ranks.values()) + 1
        self.begin_id = self.end_id = end
        self.vocab_size = max(end, *ranks.values()) + 1
        self._encoding = _tiktoken().Encoding(
            encoding, pat_str=public.pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": end}
        )

    def encode(self, text: str) -> list[int]:
        """Ids of `text` between begin and end marker."""
        return [self.begin_id, *self._encoding.encode_ordinary(text), self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, without markers."""
        return self._encoding.decode([i for i in ids if i != self.end_id])


def _ranks(content: bytes, path: str) -> dict[bytes, int]:
    """Token bytes -> id, from lines of base64 and number."""
    ranks = {}
    try:
        for line in content.splitlines():
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
    except (ValueError, binascii.Error):
        ranks = {}
    # Any text must be encodable.
    if any(bytes([byte]) not in ranks for byte in range(256)) or len(set(ranks.values())) < len(ranks):
        raise UserError(
            f"{path}: not a .tiktoken file; it needs a line of base64 and id for each token, all 256 bytes "
            "among them"
        )
    return ranks


def _tiktoken() -> Any:
    try:
        import tiktoken
    except ImportError:
        raise UserError(
            "config.model.script_tokenizer: tiktoken is not installed; pip install 'dualdub-jax[tiktoken]'"
        ) from None
    return tiktoken
