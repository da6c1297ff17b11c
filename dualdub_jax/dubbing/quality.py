"""The quality of a finished soundtrack: its figures, and a verdict in one line.

Measured without a model: when each utterance is audible, loudness, true peaks, clipping, and gaps, which are
utterances that are inaudible, silence of a second and more inside others, and silence of the background. A
recogniser, if there is one, adds words that differ and words where none is due. A soundtrack is good if all
utterances are on time, nothing is clipped nor limited deeply, there are no gaps and no ghost words, and at
most a tenth of the words differ, about what the recogniser gets wrong in true speech. Source: our choice.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from dualdub_jax.dubbing.mix_warnings import MOST_LIMITED_DB
from dualdub_jax.dubbing.mixdown import MIX
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.recognition import Recognise, Recognition
from dualdub_jax.dubbing.speech_check import LEAST_THRESHOLD_DBFS, SpokenUtterance
from dualdub_jax.dubbing.track_figures import TrackFigures, measure_track
from dualdub_jax.dubbing.utterances import TOLERANCE_S

SILENT_BACKGROUND_DBFS = -80.0
MOST_DIFFERENT = 0.1  # of the words
_MOST_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Gap:
    """A stretch in which sound is due and none is audible.

    Attributes:
        track: "speech" or "background".
        start_s, end_s: seconds.
    """

    track: str
    start_s: float
    end_s: float


@dataclasses.dataclass(frozen=True)
class Quality:
    """What is known of the soundtrack of a project.

    Attributes:
        spoken: the utterances, and when each is audible.
        tracks: by name.
        gaps: in order of time, those of the speech first.
        recognition: None: there is no recogniser.
        no_recognition: why there is none, and how to get it.
        limited_db: by how much the limiter lowers peaks of the mix at most.
    """

    spoken: tuple[SpokenUtterance, ...]
    tracks: Mapping[str, TrackFigures]
    gaps: tuple[Gap, ...]
    recognition: Recognition | None
    no_recognition: str
    limited_db: float = 0.0

    @property
    def verdict(self) -> str:
        """One line, such as "12 of 12 cues on time, 2 of 61 words differ, no clipping: good"."""
        parts, faults = [], []
        if self.spoken:
            late = [s for s in self.spoken if s.span_s is None or s.error_s > TOLERANCE_S]
            what = "cues" if self.spoken[0].utterance.cues else "passages"
            # A cue of several speakers is several utterances.
            num_late, num_places = len({*map(_place, late)}), len({*map(_place, self.spoken)})
            parts.append(f"{num_places - num_late} of {num_places} {what} on time")
            faults += [_place(spoken) for spoken in late]
            parts.append(self._words(faults))
        clipped = [name for name, figures in self.tracks.items() if figures.num_clipped]
        num_clipped = sum(self.tracks[name].num_clipped for name in clipped)
        parts.append(f"{num_clipped} samples clipped" if clipped else "no clipping")
        faults += [f"the {name}" for name in clipped]
        if self.limited_db > MOST_LIMITED_DB:
            parts.append(f"peaks limited by up to {self.limited_db:.1f} dB")
            faults.append(f"the {MIX}")
        if silent_s := sum(gap.end_s - gap.start_s for gap in self.gaps):
            parts.append(f"{silent_s:.1f} s silent where sound is due")
            faults += [f"{gap.track} at {gap.start_s:.1f} s" for gap in self.gaps]
        if ghosts := self.recognition.ghost_words if self.recognition else ():
            parts.append(f"{sum(len(ghost.words) for ghost in ghosts)} words where none is due")
            faults += [f"{ghost.track} at {ghost.start_s:.1f} s" for ghost in ghosts]
        faults = list(dict.fromkeys(faults))
        more = f" and {len(faults) - _MOST_NAMED} more" if len(faults) > _MOST_NAMED else ""
        return ", ".join(parts) + (f": check {', '.join(faults[:_MOST_NAMED])}{more}" if faults else ": good")

    def _words(self, faults: list[str]) -> str:
        if self.recognition is None:
            return "words not checked"
        checked = [
            (spoken, words)
            for spoken, words in zip(self.spoken, self.recognition.utterances, strict=True)
            if words is not None and words.asked
        ]
        num_words = sum(len(words.asked) for _, words in checked)
        num_different = sum(words.num_different for _, words in checked)
        if num_different > MOST_DIFFERENT * num_words:
            faults += [_place(spoken) for spoken, words in checked if words.num_different]
        return f"{num_different} of {num_words} words differ"

    def describe_utterance(self, index: int) -> dict[str, Any]:
        """Plain JSON values of one of `spoken`, for receipts."""
        spoken = self.spoken[index]
        words = self.recognition and self.recognition.utterances[index]
        span_s = spoken.span_s
        rate = None if span_s is None else len(spoken.utterance.text) / (span_s[1] - span_s[0])
        unknown = {"recognised": None if self.recognition is None else ""}
        return spoken.describe() | {"spoken_letters_per_s": rate} | (words.describe() if words else unknown)

    def describe(self) -> dict[str, Any]:
        """Plain JSON values of everything but the utterances, for receipts."""
        recognition = self.recognition
        return {
            "verdict": self.verdict,
            "tracks": {name: figures.describe() for name, figures in self.tracks.items()},
            "gaps": [dataclasses.asdict(gap) for gap in self.gaps],
            "ghost_words": recognition and [dataclasses.asdict(ghost) for ghost in recognition.ghost_words],
            "recognisers": recognition and dict(recognition.recognisers),
            "no_recognition": self.no_recognition or None,
        }


def check_quality(
    project: Project,
    recognise: Recognise | None = None,
    no_recognition: str = "not asked for",
) -> Quality:
    """Measures the tracks of a project, and has its words recognised.

    Args:
        project: after `Project.dub`; its progress measures the steps "measure" and "recognise".
        recognise: the recogniser; None: there is none.
        no_recognition: why there is none.
    """
    tracks = {}
    with project.progress.step("measure") as advance:
        for name, track in project.tracks.items():
            tracks[name] = measure_track(track, track.sample_rate_hz)
            advance(len(tracks) / len(project.tracks))
    recognition = None
    if recognise is not None:
        with project.progress.step("recognise") as advance:
            recognition = recognise(project, advance)
    return Quality(
        project.spoken,
        tracks,
        (*_gaps_of_speech(project, tracks["speech"]), *_gaps_of_background(project, tracks["background"])),
        recognition,
        "" if recognition else no_recognition,
        loudness.limited_db if (loudness := project.mixdown.loudness) else 0.0,
    )


def _gaps_of_speech(project: Project, figures: TrackFigures) -> Iterator[Gap]:
    for spoken in project.spoken:
        if spoken.span_s is None:
            yield Gap("speech", float(spoken.utterance.start_s), float(spoken.utterance.end_s))
        else:
            for span_s in figures.silences(LEAST_THRESHOLD_DBFS, *spoken.span_s):
                yield Gap("speech", *span_s)


def _gaps_of_background(project: Project, figures: TrackFigures) -> Iterator[Gap]:
    if "background" in project.used:
        for span_s in figures.silences(SILENT_BACKGROUND_DBFS, 0.0, float(project.film.duration_s)):
            yield Gap("background", *span_s)


def _place(spoken: SpokenUtterance) -> str:
    utterance = spoken.utterance
    if utterance.cues:
        return f"cue {utterance.cues[0]}"
    return f"speech at {float(utterance.start_s):.1f} s"
