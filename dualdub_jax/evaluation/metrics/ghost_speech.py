"""Words where nobody should speak: in the background track, and in the speech track of clips without text."""

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
_VOICE_FRAME = 512  # samples, the detector's
_VOICE_PROBABILITY, _LEAST_VOICE_FRAMES = 0.5, 3  # three frames are 96 ms


def _in_100_clips(values: Sequence[np.ndarray]) -> float:
    return 100.0 * float(np.mean([float(value) for value in values]))


class GhostSpeech(ClipMetric):
    """Words that two independent detectors agree on in tracks that should hold none, in 100 clips.

    Looked at: the background track of every clip that has one (`ghost_words_background`), and the speech
    track of clips whose text is "" (`ghost_words_speech`); `ghost_words` adds both up. A recogniser asked to
    write down noise invents words, so those of a window count only if the track's loud frames reach
    -60 dBFS, Whisper tiny.en puts the probability that nobody speaks below 0.6, and the Silero voice
    detector (inside faster-whisper) hears a voice in at least three frames of 32 ms. The number of words
    is that of Whisper's text.

    Measured by `benchmarks/ghost_speech_rule.py` on Puppet Stage; clips in which words were counted:
    true backgrounds 0 of 40 (lowest no-speech probability 0.75); with true speech mixed in at the
    background's level 12 of 12, 5 dB below it 11 of 12, 10 dB below it 5 of 12. `tests` hold a smaller
    sample of it.

    Limits: speech 10 dB below the background stays unnoticed more often than not, as does babble that is no
    English. Singing counts. In films whose true background has voices, compare with the ceiling.

    Source: our choice; no paper of the field reports it.
    """

    name = "ghost_speech"
    figures = tuple(
        Figure(name, "words in 100 clips", "lower", about, summarise=_in_100_clips)
        for name, about in (
            ("ghost_words", "Words heard in backgrounds and in the speech track of clips without a text."),
            ("ghost_words_background", "Words heard in the background track."),
            ("ghost_words_speech", "Words heard in the speech track of clips without a text."),
        )
    )
    requirements = whisper.REQUIREMENTS

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[], the number of words,."""
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
    """The words that count as speech in float[S], by the rule of `GhostSpeech`."""
    samples = at_speech_level(track, silence_dbfs=_AUDIBLE_DBFS)
    if samples is None or _voice_frames(samples) < _LEAST_VOICE_FRAMES:
        return []
    passages = whisper.transcribe(samples)
    heard = (p.text for p in passages if p.no_speech_probability < _MOST_NO_SPEECH)
    return normalise(" ".join(heard)).split()


def _voice_frames(samples: np.ndarray) -> int:
    """How many frames of float32[S] hold a voice."""
    padded = np.pad(samples, (0, -len(samples) % _VOICE_FRAME))
    return int(np.sum(_voice_detector()(padded) > _VOICE_PROBABILITY))


@functools.cache
def _voice_detector() -> Any:
    from faster_whisper.vad import get_vad_model

    return get_vad_model()
