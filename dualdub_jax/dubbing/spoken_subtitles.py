"""Subtitles of what is spoken: the words of each utterance, at the times at which it is audible.

An utterance of several cues, which overlap, is shown as one subtitle with a line for each of them. One that
is not audible has none. Source: our choice.
"""

import textwrap
from collections.abc import Sequence
from fractions import Fraction

import pysubs2

from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.speech_check import SpokenUtterance
from dualdub_jax.media.new_tracks import SubtitleLine
from dualdub_jax.text.words import join_words

SUFFIXES = (".srt", ".vtt", ".ass")
_WIDTH = 42  # letters a line, as broadcasters have them


def spoken_lines(project: Project) -> list[SubtitleLine]:
    """The subtitles of a project whose tracks are done, in order of time."""
    return [
        line for spoken in project.spoken if spoken.span_s is not None for line in _lines(spoken, project)
    ]


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


def _lines(spoken: SpokenUtterance, project: Project) -> list[SubtitleLine]:
    start_s, end_s = (Fraction(time_s).limit_denominator(1000) for time_s in spoken.span_s)
    cues = [project.script.cues[number - 1] for number in spoken.utterance.cues]
    if not cues:
        written = {window.text: window.written for window in project.windows}
        text = written.get(spoken.utterance.text) or spoken.utterance.text
        return [SubtitleLine(start_s, end_s, textwrap.fill(text, _WIDTH))]
    texts = [(textwrap.fill(join_words(cue.words, written=True), _WIDTH), cue.speaker) for cue in cues]
    if len(texts) == 1:
        return [SubtitleLine(start_s, end_s, *texts[0])]
    text = "\n".join(SubtitleLine(start_s, end_s, *each).labelled for each in texts)
    return [SubtitleLine(start_s, end_s, text)]
