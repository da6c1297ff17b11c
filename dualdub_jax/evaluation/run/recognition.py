"""Recognition of the words of a finished soundtrack, for its receipt.

Each utterance is cut out where it is audible. Whisper tiny.en writes what it recognises, and the recogniser
of the asked words (listeners/asked_words.py) decides which of them are dropped or added. Ghost words are
searched for, by the rule of metrics/ghost_speech.py, in parts of 30 s of the background, and of the speech
track without its utterances. English only. On two CPU cores an utterance takes about a second.
"""

import fractions
import importlib.metadata
from collections.abc import Iterator, Sequence

import numpy as np

from dualdub_jax.dubbing.progress import Advance
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.recognition import GhostWords, Recognise, RecognisedWords, Recognition
from dualdub_jax.dubbing.utterances import TOLERANCE_S
from dualdub_jax.evaluation.contracts.clips import at_metric_rate
from dualdub_jax.evaluation.listeners import asked_words, whisper
from dualdub_jax.evaluation.metrics.ghost_speech import ghost_words
from dualdub_jax.evaluation.metrics.open_asr import transcript
from dualdub_jax.media.track import Samples

_MARGIN_S = float(TOLERANCE_S)
_PART_S = 30  # a window of Whisper
_REQUIREMENTS = (*asked_words.REQUIREMENTS, *whisper.REQUIREMENTS)


def find_recogniser() -> tuple[Recognise | None, str]:
    """The recogniser, or None and how to get it."""
    missing = next((text for requirement in _REQUIREMENTS if (text := requirement.missing())), "")
    return (None, missing) if missing else (recognise, "")


def recognise(project: Project, advance: Advance) -> Recognition:
    """Recognises the words of a project's tracks.

    Args:
        project: after `Project.dub`.
        advance: called with the part that is done.
    """
    speech = project.tracks["speech"]
    rate_hz = speech.sample_rate_hz
    parts = list(_parts(project))
    num_steps = len(project.spoken) + len(parts)
    utterances: list[RecognisedWords | None] = []
    for i, spoken in enumerate(project.spoken):
        found = None
        if spoken.span_s is not None:
            start_s, end_s = spoken.span_s
            first, end = round(max(0.0, start_s - _MARGIN_S) * rate_hz), round((end_s + _MARGIN_S) * rate_hz)
            found = _words(_at_16_khz(speech[first:end], rate_hz), spoken.utterance.text)
        utterances.append(found)
        advance((i + 1) / num_steps)
    ghosts = []
    for i, (name, first, end) in enumerate(parts, start=len(project.spoken)):
        track = project.tracks[name]
        samples = track[first:end]
        if name == "speech":
            samples = _without(samples, first, rate_hz, [s.span_s for s in project.spoken if s.span_s])
        if words := ghost_words(_at_16_khz(samples, rate_hz)):
            ghosts.append(GhostWords(name, first / rate_hz, end / rate_hz, tuple(words)))
        advance((i + 1) / num_steps)
    recognisers = {r.distribution: importlib.metadata.version(r.distribution) for r in _REQUIREMENTS}
    return Recognition(recognisers, tuple(utterances), tuple(ghosts))


def _words(samples: np.ndarray, text: str) -> RecognisedWords:
    found = asked_words.recognise(samples, text)
    return RecognisedWords(
        transcript(samples), found.asked, found.dropped, found.added, found.unknown, found.num_different
    )


def _parts(project: Project) -> Iterator[tuple[str, int, int]]:
    """Parts of the generated tracks: name, first sample, and the one behind the last."""
    for name in project.used:
        track: Samples = project.tracks[name]
        size = _PART_S * track.sample_rate_hz
        for first in range(0, len(track), size):
            yield name, first, min(first + size, len(track))


def _without(
    samples: np.ndarray, offset: int, rate_hz: int, spans_s: Sequence[tuple[float, float]]
) -> np.ndarray:
    """The samples from `offset` on with zeros where an utterance is audible, its fade included."""
    rest = samples.copy()
    for start_s, end_s in spans_s:
        first, end = (round(time_s * rate_hz) - offset for time_s in (start_s - _MARGIN_S, end_s + _MARGIN_S))
        rest[max(0, first) : max(0, end)] = 0
    return rest


def _at_16_khz(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """float32[S] of the mean of the channels."""
    return at_metric_rate(samples, rate_hz, fractions.Fraction(len(samples), rate_hz))
