"""What is written beside a film's pictures: audio tracks and a subtitle track, with names and languages."""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

from dualdub_jax.media.track import Samples


@dataclasses.dataclass(frozen=True)
class AudioTrack:
    """A signal and what a player's menu shows of it.

    Attributes:
        samples: float32[S], or [S, 2] in stereo, in [-1, 1], read in blocks.
        sample_rate_hz: of the samples.
        title: name of the track.
        language: a tag of BCP 47, see `language.check_language`; None: not stated.
        is_default: whether players choose it unasked.
    """

    samples: Samples
    sample_rate_hz: int
    title: str = "Mix"
    language: str | None = None
    is_default: bool = True


@dataclasses.dataclass(frozen=True)
class SubtitleLine:
    """Text and the time in which it is shown.

    Attributes:
        start_s, end_s: seconds from the first frame.
        text: may have several lines.
        speaker: who says it; None: not known.
    """

    start_s: Fraction
    end_s: Fraction
    text: str
    speaker: str | None = None

    @property
    def labelled(self) -> str:
        """The text with its speaker in front, for formats without speakers."""
        return self.text if self.speaker is None else f"{self.speaker}: {self.text}"


@dataclasses.dataclass(frozen=True)
class SubtitleTrack:
    """Subtitles that a viewer may switch on.

    Attributes:
        lines: in order of time.
        title: name of the track.
        language: as of `AudioTrack`.
    """

    lines: Sequence[SubtitleLine]
    title: str = "Spoken"
    language: str | None = None


@dataclasses.dataclass(frozen=True)
class NewTracks:
    """All that a copy of a film gets.

    Attributes:
        audio: at least one; the film's own sound is not copied.
        subtitles: beside the film's own; None: none.
    """

    audio: Sequence[AudioTrack]
    subtitles: SubtitleTrack | None = None
