"""Which utterances are audible in the finished speech track, and when.

Speech is what exceeds the level of decoded silence under the same voice and acoustics by `MARGIN_DB`. That
does not tell whether the words are right; an utterance that is much shorter than its words need lacks some.
Source: our choice.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dsp.activity import active_span_s, levels_dbfs
from dualdub_jax.dubbing.protocol import DubbingEngine
from dualdub_jax.dubbing.rates import COMFORTABLE_RATE, MAX_RATE
from dualdub_jax.dubbing.utterances import TOLERANCE_S, Utterance
from dualdub_jax.media.track import Samples, as_mono

MARGIN_DB = 2.0
LEAST_THRESHOLD_DBFS = -60.0  # whatever the noise: softer speech is inaudible beside a background
_HURRY = 1.5  # times the fastest rate, or the rate that is needed; beyond, words are missing
HIDING_DBFS = -30.0  # room noise from this level on may hide speech that is there
_LOUD_PERCENTILE = 95
_MEND = "choose another --seed, or place it where the speaker's mouth is visible"


@dataclasses.dataclass(frozen=True)
class SpokenUtterance:
    """An utterance, and when it is audible.

    Attributes:
        utterance: what is due, and when.
        span_s: first and last time at which speech is audible; None: never.
    """

    utterance: Utterance
    span_s: tuple[float, float] | None

    @property
    def error_s(self) -> float | None:
        """How much of the speech lies outside the time in which it is due; None without speech."""
        if self.span_s is None:
            return None
        early, late = (
            float(self.utterance.start_s) - self.span_s[0],
            self.span_s[1] - float(self.utterance.end_s),
        )
        return max(early, late, 0.0)

    @property
    def warning(self) -> str | None:
        """What the user should know; None if the utterance is where it is due."""
        name = self.utterance.name
        if self.span_s is None:
            return f"{name} is not audible; {_MEND}"
        if self.error_s > TOLERANCE_S:
            start_s, end_s = self.span_s
            return f"{name} is spoken from {start_s:.2f} s to {end_s:.2f} s; {_MEND}"
        if _is_hurried(self.utterance.text, self.span_s, self.utterance.end_s - self.utterance.start_s):
            return (
                f"{name} is spoken for {self.span_s[1] - self.span_s[0]:.2f} s only, too short for its "
                f"{len(self.utterance.text)} letters: words are missing; {_MEND}"
            )
        return None

    def describe(self) -> dict[str, Any]:
        """Plain JSON values, for receipts."""
        start_s, end_s = (None, None) if self.span_s is None else self.span_s
        return {
            "cues": list(self.utterance.cues),
            "speaker": self.utterance.speaker or None,
            "text": self.utterance.text,
            "letters_per_s": float(self.utterance.rate),
            "rate": float(self.utterance.rate / COMFORTABLE_RATE),
            "due_start_s": float(self.utterance.start_s),
            "due_end_s": float(self.utterance.end_s),
            "start_s": start_s,
            "end_s": end_s,
            "error_s": self.error_s,
        }


class Listener:
    """Tells speech of one voice in one room from silence.

    Attributes:
        threshold_dbfs: the level from which on 10 ms of a track are speech.
    """

    def __init__(self, engine: DubbingEngine, voice: np.ndarray | None, acoustics: Acoustics | None) -> None:
        """Measures the level of silence; arguments as for `DubbingEngine.open_decoder`."""
        self._open_decoder = lambda: engine.open_decoder("speech", voice, acoustics)
        silence, rate_hz = self._decode(engine.silence(engine.config.grid.num_frames, acoustics))
        level_dbfs = float(np.percentile(levels_dbfs(silence, rate_hz), _LOUD_PERCENTILE))
        self.threshold_dbfs = max(LEAST_THRESHOLD_DBFS, level_dbfs + MARGIN_DB)

    @property
    def can_tell(self) -> bool:
        """Whether the room is quiet enough to distinguish silence from speech with certainty."""
        return self.threshold_dbfs < HIDING_DBFS

    def is_spoken(self, text: str, tokens: np.ndarray) -> bool:
        """Whether speech tokens int32[T, Q] of one window hold enough speech for a text."""
        samples, rate_hz = self._decode(tokens)
        span_s = active_span_s(samples, rate_hz, self.threshold_dbfs)
        return span_s is not None and not _is_hurried(text, span_s, len(samples) / rate_hz)

    def _decode(self, tokens: np.ndarray) -> tuple[np.ndarray, int]:
        """Samples float32[S] of at most a window of speech tokens, and their rate."""
        decoder = self._open_decoder()
        return as_mono(np.concatenate([decoder.push(tokens), decoder.flush()])), decoder.sample_rate_hz


def find_speech(
    track: Samples, sample_rate_hz: int, utterances: Sequence[Utterance], thresholds_dbfs: Sequence[float]
) -> tuple[SpokenUtterance, ...]:
    """Measures when each utterance is audible.

    Args:
        track: the finished speech track.
        sample_rate_hz: of the track.
        utterances: in order of time.
        thresholds_dbfs: of each utterance, the level from which on 10 ms of the track are speech.
    """
    found = []
    for i, (utterance, threshold_dbfs) in enumerate(zip(utterances, thresholds_dbfs, strict=True)):
        # What is between two utterances belongs to the nearer one.
        begin_s, stop_s = utterance.start_s - TOLERANCE_S, utterance.end_s + TOLERANCE_S
        if i > 0:
            begin_s = max(begin_s, (utterances[i - 1].end_s + utterance.start_s) / 2)
        if i + 1 < len(utterances):
            stop_s = min(stop_s, (utterance.end_s + utterances[i + 1].start_s) / 2)
        first, end = max(0, round(begin_s * sample_rate_hz)), round(stop_s * sample_rate_hz)
        span_s = active_span_s(as_mono(track[first:end]), sample_rate_hz, threshold_dbfs)
        if span_s is not None:
            span_s = tuple(first / sample_rate_hz + time_s for time_s in span_s)
        found.append(SpokenUtterance(utterance, span_s))
    return tuple(found)


def _is_hurried(text: str, span_s: tuple[float, float], due_s: Fraction | float) -> bool:
    """Whether a text that is due for some seconds cannot have been spoken as a whole in a time."""
    needed_rate = len(text) / float(due_s)
    return len(text) > _HURRY * max(MAX_RATE, needed_rate) * (span_s[1] - span_s[0])
