"""Subtitles of what is spoken: the words of each utterance, at the times at which it is audible.

One that is not audible has none. Source: our choice.
"""

import textwrap
from collections.abc import Sequence
from fractions import Fraction

import pysubs2

from dualdub_jax.dubbing.project import Project
from dualdub_jax.media.new_tracks import SubtitleLine

SUFFIXES = (".srt", ".vtt", ".ass")
_WIDTH = 42  # letters a line, as broadcasters have them


def spoken_lines(project: Project) -> list[SubtitleLine]:
    """The subtitles of a project whose tracks are done, in order of time, with the script's speakers."""
    named = {cue.number: cue.speaker for cue in project.script.cues}
    lines = []
    for spoken in project.spoken:
        utterance = spoken.utterance
        speakers = (utterance.speaker, *(named[number] for number in utterance.cues))
        if spoken.span_s is not None:
            speaker = next(filter(None, speakers), None)
            lines.append(_line(utterance.written or utterance.text, speaker, spoken.span_s))
    return lines


def subtitle_file(lines: Sequence[SubtitleLine], suffix: str) -> str:
    """The text of a subtitle file.

    Args:
        lines: of the file.
        suffix: chooses the format, see `SUFFIXES`. WebVTT and SubStation Alpha have speakers of their own,
            SubRip has them in front of the text.
    """
    file = pysubs2.SSAFile()
    for line in lines:
        text = line.labelled if suffix == ".srt" else line.text
        if suffix == ".vtt":
            text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            if line.speaker is not None:
                text = f"<v {line.speaker.replace('>', ' ')}>{text}"
        file.append(
            pysubs2.SSAEvent(
                start=round(line.start_s * 1000),
                end=round(line.end_s * 1000),
                text=text.replace("\n", "\\N"),
                name=(line.speaker or "").replace(",", ";"),
            )
        )
    return file.to_string(suffix.removeprefix("."))


def _line(text: str, speaker: str | None, span_s: tuple[float, float]) -> SubtitleLine:
    start_s, end_s = (Fraction(time_s).limit_denominator(1000) for time_s in span_s)
    return SubtitleLine(start_s, end_s, textwrap.fill(text, _WIDTH), speaker)
