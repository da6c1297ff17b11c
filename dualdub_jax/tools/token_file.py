"""Files of codec tokens: safetensors with the tokens, and in the metadata all that decoding needs.

tokens    int32[T, Q]
speaker   float32[D], where the codec's decoder is conditioned on a speaker
metadata  "codec" (name or folder), "fingerprint", "num_codebooks", "sample_rate_hz", "num_samples"
"""

import dataclasses
import pathlib

import numpy as np
import safetensors
import safetensors.numpy

from dualdub_jax.errors import UserError
from dualdub_jax.media.outputs import Outputs
from dualdub_jax.tools.named_codec import NamedCodec

_FORMAT = "dualdub codec tokens 1"
_KEYS = ("codec", "fingerprint", "num_codebooks", "sample_rate_hz", "num_samples")


@dataclasses.dataclass(frozen=True)
class TokenFile:
    """The tokens of one sound.

    Attributes:
        tokens: int32[T, Q].
        codec: name of the codec, for `load_codec`.
        fingerprint: of the codec.
        sample_rate_hz: of the codec.
        num_samples: length of the sound; the last frame may be longer.
        speaker: float32[D]; None: the codec has no such condition.
    """

    tokens: np.ndarray
    codec: str
    fingerprint: str
    sample_rate_hz: int
    num_samples: int
    speaker: np.ndarray | None = None


def write_tokens(path: pathlib.Path, content: TokenFile) -> None:
    """Writes a file, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    arrays = {"tokens": np.ascontiguousarray(content.tokens, np.int32)}
    if content.speaker is not None:
        arrays["speaker"] = np.ascontiguousarray(content.speaker, np.float32)
    metadata = {key: str(getattr(content, key)) for key in _KEYS if key != "num_codebooks"}
    metadata |= {"format": _FORMAT, "num_codebooks": str(content.tokens.shape[1])}
    with Outputs() as outputs:
        with outputs.open(path) as file:
            file.write(safetensors.numpy.save(arrays, metadata))
        outputs.commit()


def read_tokens(path: pathlib.Path) -> TokenFile:
    """Reads a file.

    Raises:
        UserError: it is missing, damaged, or of another format.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `dualdub codec encode` writes one") from None
    except (OSError, ValueError, TypeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: cannot be read as a file of tokens ({reason}); encode the sound again"
        ) from None
    tokens, speaker = arrays.get("tokens"), arrays.get("speaker")
    is_whole = metadata.get("format") == _FORMAT and all(key in metadata for key in _KEYS)
    numbers = [metadata.get(key, "") for key in ("num_codebooks", "sample_rate_hz", "num_samples")]
    if not is_whole or tokens is None or not all(number.isdigit() for number in numbers):
        raise UserError(
            f"{path}: holds no tokens of `dualdub codec encode` (format {metadata.get('format')!r}, expected "
            f"{_FORMAT!r}); encode the sound again"
        )
    num_codebooks, sample_rate_hz, num_samples = map(int, numbers)
    if tokens.dtype != np.int32 or tokens.ndim != 2 or tokens.shape[1] != num_codebooks:
        raise UserError(
            f"{path}: its tokens are {tokens.dtype}{list(tokens.shape)}, expected int32[T, {num_codebooks}]; "
            "encode the sound again"
        )
    return TokenFile(tokens, metadata["codec"], metadata["fingerprint"], sample_rate_hz, num_samples, speaker)


def check_tokens(path: pathlib.Path, content: TokenFile, named: NamedCodec) -> None:
    """Checks that a codec can decode a file.

    Raises:
        UserError: tokens of another codec or out of its range, a length that is not theirs, or another
            speaker condition.
    """
    spec = named.codec.spec
    if content.fingerprint != named.fingerprint:
        raise UserError(
            f"{path}: its tokens are of another codec ({content.codec}, {content.fingerprint}) than "
            f"{named.name} ({named.fingerprint}); give that one as --codec"
        )
    wrong = (content.tokens < 0) | (content.tokens >= spec.codebook_size)
    if wrong.any():
        frame, codebook = np.argwhere(wrong)[0]
        raise UserError(
            f"{path}: token {content.tokens[frame, codebook]} of frame {frame} is out of range, the codec "
            f"has 0 to {spec.codebook_size - 1}; encode the sound again"
        )
    hop = spec.samples_per_frame
    if not (len(content.tokens) - 1) * hop < content.num_samples <= len(content.tokens) * hop:
        raise UserError(
            f"{path}: {len(content.tokens)} frames of {hop} samples are no sound of {content.num_samples} "
            "samples; encode the sound again"
        )
    speaker = content.speaker
    is_wrong = speaker is not None and (speaker.ndim != 1 or not np.isfinite(speaker).all())
    if ("speaker" in spec.decode_conditions) != (speaker is not None) or is_wrong:
        raise UserError(f"{path}: its speaker embedding is absent or damaged; encode the sound again")
