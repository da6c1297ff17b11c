"""Ghost speech: words in the background track, and in the speech track of clips with an empty script."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dualdub_jax.evaluation.analysis.speech_level import at_speech_level
from dualdub_jax.evaluation.analysis.text_normaliser import normalise
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value
from dualdub_jax.evaluation.listeners import whisper

_AUDIBLE_DBFS = -60.0
_MOST_NO_SPEECH = 0.6
# Above this no-speech probability, the words must be more likely than this: mean over the tokens, nats.
_UNSURE_NO_SPEECH, _LEAST_LOG_PROBABILITY = 0.4, -1.1
_VOICE_FRAME = 512  # samples, the detector's
_VOICE_PROBABILITY, _LEAST_VOICE_FRAMES = 0.5, 3  # three frames are 96 ms


def _in_100_clips(values: Sequence[np.ndarray]) -> float:
    return 100.0 * float(np.mean([float(value) for value in values]))


class GhostSpeech(ClipMetric):
    """Words per 100 clips in tracks that should contain none, confirmed by two independent detectors.

    Covers the background track of every clip (`ghost_words_background`) and the speech track of clips whose
    script is "" (`ghost_words_speech`); `ghost_words` is their sum. Recognisers hallucinate words on noise,
    so the words of a window count only if all of these hold: the track's loud frames reach -60 dBFS, the
    no-speech probability of Whisper tiny.en is below 0.4, or below 0.6 with a mean log-probability above
    -1.1, and the Silero voice activity detector (in faster-whisper) is active in at least three frames of 32
    ms. The count is that of Whisper's transcript. Without the log-probability, words are found where a
    background begins out of digital silence.

    Measured by `benchmarks/ghost_speech_rule.py` on Puppet Stage, clips with counted words: true backgrounds
    0 of 40 (lowest no-speech probability 0.75); with true speech mixed in at the background's level 12 of
    12, 5 dB below it 11 of 12, 10 dB below it 5 of 12. The tests cover a smaller sample.

    Limits: speech 10 dB below the background is missed more often than not, as is unintelligible or
    non-English babble. Singing counts. If the true backgrounds contain voices, compare with the ceiling.

    Source: our choice.
    """

    name = "ghost_speech"
    version = "2"
    figures = tuple(
        Figure(name, "words in 100 clips", "lower", about, summarise=_in_100_clips)
        for name, about in (
            ("ghost_words", "Words recognised in backgrounds and in the speech of clips without a script."),
            ("ghost_words_background", "Words recognised in the background track."),
            ("ghost_words_speech", "Words recognised in the speech track of clips without a script."),
        )
    )
    requirements = whisper.REQUIREMENTS

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[] by figure: the number of words."""
        background = self._count(clip.background)
        speech = self._count(clip.speech) if clip.text is not None and not clip.text.strip() else None
        counts = [count for count in (background, speech) if count is not None]
        return {
            "ghost_words": np.sum(counts) if counts else None,
            "ghost_words_background": background,
            "ghost_words_speech": speech,
        }

    def _count(self, track: np.ndarray | None) -> Value:
        if track is None:
            return None
        self.weights_sha256 = whisper.weights_sha256()
        return np.float64(len(ghost_words(track)))


def ghost_words(track: np.ndarray) -> list[str]:
    """Recognises ghost words in a track by the rule of `GhostSpeech`.

    Args:
        track: float[S] at 16 kHz.

    Returns:
        Normalised words; empty if the track is inaudible or without voice activity.
    """
    samples = at_speech_level(track, silence_dbfs=_AUDIBLE_DBFS)
    if samples is None or _voice_frames(samples) < _LEAST_VOICE_FRAMES:
        return []
    passages = whisper.transcribe(samples)
    accepted = (passage.text for passage in passages if _is_accepted(passage))
    return normalise(" ".join(accepted)).split()


def _is_accepted(passage: whisper.Passage) -> bool:
    if passage.no_speech_probability < _UNSURE_NO_SPEECH:
        return True
    return (
        passage.no_speech_probability < _MOST_NO_SPEECH
        and passage.mean_log_probability > _LEAST_LOG_PROBABILITY
    )


def _voice_frames(samples: np.ndarray) -> int:
    """Number of frames of float32[S] with voice activity."""
    padded = np.pad(samples, (0, -len(samples) % _VOICE_FRAME))
    return int(np.sum(_voice_detector()(padded) > _VOICE_PROBABILITY))


@functools.cache
def _voice_detector() -> Any:
    from faster_whisper.vad import get_vad_model

    return get_vad_model()
