"""Subtitle files of all kinds that pysubs2 parses, as cues with times, text and speakers.

The kind is recognised by the content, and by the file's suffix where the content does not tell. Formatting is
removed; drawings and comments are not spoken. Source: our choice.
"""

import dataclasses
import html
import json
import re
from fractions import Fraction

import pysubs2
from pysubs2.formats import autodetect_format
from pysubs2.formats.microdvd import MICRODVD_LINE
from pysubs2.formats.mpl2 import MPL2_FORMAT
from pysubs2.formats.substation import parse_tags
from pysubs2.formats.tmp import TMP_LINE

from dualdub_jax.errors import UserError
from dualdub_jax.text.directions import DIRECTION, Unspoken
from dualdub_jax.text.script_source import SUBTITLE_SUFFIXES, ScriptSource
from dualdub_jax.text.speakers import Turn, distinct_names
from dualdub_jax.text.subtitle_blocks import TidyBlocks

DRAWINGS, COMMENTS = "drawings", "comments"

_FORMATS = {".ass": "ass", ".ssa": "ssa", ".vtt": "vtt", ".json": "json", ".smi": "sami", ".sami": "sami"} | {
    suffix: "ttml" for suffix in (".ttml", ".dfxp", ".xml")
}
_BLOCKS = ("srt", "vtt")  # SubViewer is read as SubRip
_LINE_PATTERNS = {"microdvd": MICRODVD_LINE, "mpl2": MPL2_FORMAT, "tmp": TMP_LINE}
_SUBSTATION_TIME = r"\s*-?\d{1,2}:\d{1,2}:\d{1,2}(?:[.,]\d{1,3})?\s*"
_SUBSTATION_FIELDS = 10
_DIALOGUE = re.compile(
    rf"^Dialogue:\s*(Marked\s*=)?[^,\n]*,{_SUBSTATION_TIME},{_SUBSTATION_TIME},",
    re.MULTILINE,
)

_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^<>]+)>")
# No other tags: "a < b and c > d" is text.
_TAG = re.compile(
    r"</?(?:(?:i|b|u|s|em|strong|ruby|rt|c|v|lang)(?:\.[^\s<>]+)?|/?(?:font|span|p|div|c|lang)(?:[.\s=][^<>]*)?)\s*/?>",
    re.IGNORECASE,
)
_BREAK = re.compile(r"<\s*br\s*/?\s*>|\[br\]|\\[Nn]", re.IGNORECASE)
_OVERRIDE = re.compile(r"\{[^{}]*\\[^{}]*\}|\{[A-Za-z]:[^{}]*\}")  # {\an8} and MicroDVD's {c:$0000ff}
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclasses.dataclass(frozen=True)
class Subtitle:
    """One subtitle, before its text is normalised.

    Attributes:
        number: of the cue, from 1, in the file's order.
        start_s, end_s: seconds from the first frame.
        turns: its text without formatting, by the speakers that the format names.
    """

    number: int
    start_s: Fraction
    end_s: Fraction
    turns: tuple[Turn, ...]

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(turn.text for turn in self.turns)

    @property
    def speaker(self) -> str:
        """All speakers whom the file names, "" for none."""
        return ", ".join(distinct_names(turn.speaker for turn in self.turns))


@dataclasses.dataclass(frozen=True)
class SubtitleFile:
    """A parsed file: its subtitles, what in it is not spoken, and sentences for the user."""

    subtitles: tuple[Subtitle, ...]
    unspoken: tuple[Unspoken, ...] = ()
    warnings: tuple[str, ...] = ()


def find_format(source: ScriptSource) -> str | None:
    """pysubs2's name of the subtitle format of a script; None if it is plain text."""
    text = source.text.lstrip("\ufeff \n\t")
    if text.startswith("WEBVTT"):
        return "vtt"
    if re.match(r"(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<(?:\w+:)?tt[\s>]", text, re.DOTALL):
        return "ttml"
    if text[:6].lower() == "<sami>":
        return "sami"
    if source.suffix == ".json":
        return "json"
    if (detected := _detected(source.text)) is not None:
        return detected
    if source.suffix in SUBTITLE_SUFFIXES:
        return _FORMATS.get(source.suffix, "srt")
    has_times = re.search(r"^\s*\d+:\d\d.*--+>.*\d", source.text, re.MULTILINE)
    return "srt" if has_times else None


def _detected(text: str) -> str | None:
    """The format of a text by pysubs2 and, without their header or beside other lines, by us."""
    try:
        format_ = autodetect_format(text)
    except pysubs2.exceptions.FormatAutodetectionError:
        format_ = None
    if format_ not in ("ass", "ssa") and (dialogue := _DIALOGUE.search(text)):
        return "ssa" if dialogue[1] else "ass"
    if format_ == "tmp":  # pysubs2 is content with one such line
        lines = [line for line in text.split("\n") if line.strip()]
        return "tmp" if sum(map(bool, map(TMP_LINE.match, lines))) > len(lines) / 2 else None
    return format_


def read_subtitles(source: ScriptSource, format_: str, rate_hz: float | None = None) -> SubtitleFile:
    """Parses a subtitle file.

    Args:
        source: the file.
        format_: see `find_format`.
        rate_hz: pictures a second of the film, for formats whose times are frames.

    Raises:
        UserError: the file is malformed (names the line where that is known), or holds no cue.
    """
    unspoken: list[Unspoken] = []
    warnings: list[str] = []
    text = source.text.lstrip("\ufeff")
    if format_ in _BLOCKS:
        blocks = TidyBlocks(source.name, text, format_ == "vtt")
        unspoken += blocks.unspoken
        text = blocks.text
    else:
        _check_lines(source, format_)
    parsed = _parse(source, text, "srt" if format_ in _BLOCKS else format_, rate_hz, warnings)
    subtitles = []
    for number, event in enumerate(parsed.events, start=1):
        event.text, event.name = str(event.text), str(event.name)
        if event.is_comment:
            unspoken.append(Unspoken(COMMENTS, remove_formatting(event.text, [])))
            continue
        turns = [
            Turn(turn.speaker, remove_formatting(turn.text, unspoken))
            for turn in split_voices(_without_drawings(event.text, unspoken), " ".join(event.name.split()))
        ]
        start_s, end_s = _times(source, number, event)
        subtitles.append(Subtitle(number, start_s, end_s, tuple(turns)))
    if not subtitles:
        cue = "a line `00:00:01,000 --> 00:00:02,500`, followed by its text"
        mend = (
            f"a cue is {cue}" if format_ in _BLOCKS else f"it was read as {format_}; give a .srt or .vtt file"
        )
        raise UserError(f"{source.name}: holds no cue; {mend}")
    return SubtitleFile(tuple(subtitles), tuple(unspoken), tuple(warnings))


def _parse(
    source: ScriptSource, text: str, format_: str, rate_hz: float | None, warnings: list[str]
) -> pysubs2.SSAFile:
    try:
        if format_ == "json" and "segments" in (recognised := json.loads(text)):
            parsed = pysubs2.load_from_whisper(recognised)
            for event, segment in zip(parsed.events, recognised["segments"], strict=True):
                event.name = segment.get("speaker") or ""  # of programs that tell speakers apart
            return parsed
        if format_ == "ttml":
            text = re.sub(r"\bdur=", "duration=", text)  # pysubs2 knows TTML's attribute by another name
        return pysubs2.SSAFile.from_string(text, format_=format_, keep_html_tags=True)
    except pysubs2.exceptions.UnknownFPSError:
        if rate_hz is None:
            raise UserError(
                f"{source.name}: its times are frames, of an unknown rate; write the rate in its first line, "
                "{1}{1}25"
            ) from None
        warnings.append(f"{source.name}: its times are read as frames of the film, at {rate_hz:g} frames/s")
        return pysubs2.SSAFile.from_string(text, format_=format_, fps=rate_hz)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{source.name}: is no valid JSON ({error}); correct it, or give a .srt or .vtt file"
        ) from None
    except Exception as error:  # pysubs2 raises errors of any type
        if format_ == "json":
            raise UserError(
                f"{source.name}: is JSON, but not that of Whisper or pysubs2; give "
                '{"segments": [{"start": 1.0, "end": 2.5, "text": "…"}]}, or a .srt or .vtt file'
            ) from None
        raise UserError(
            f"{source.name}: not a valid {format_} file ({error}); correct it, or give a .srt or .vtt file"
        ) from None


def _check_lines(source: ScriptSource, format_: str) -> None:
    """Finds lines that pysubs2 would skip in silence, or refuse without naming them."""
    pattern = _LINE_PATTERNS.get(format_)
    for number, line in enumerate(source.text.split("\n"), start=1):
        if pattern is not None and line.strip() and not pattern.match(line.strip()):
            raise UserError(
                f"{source.name}: line {number} is no line of a {format_} file ({line.strip()[:40]!r}); "
                "correct it"
            )
        if format_ in ("ass", "ssa") and line.lstrip().startswith("Dialogue:"):
            fields = line.split(":", 1)[1].split(",", _SUBSTATION_FIELDS - 1)
            if len(fields) < _SUBSTATION_FIELDS or not all(
                re.fullmatch(_SUBSTATION_TIME, field) for field in fields[1:3]
            ):
                raise UserError(
                    f"{source.name}: line {number} is no valid Dialogue line ({line.strip()[:60]!r}); "
                    "correct it, with its times as 0:00:01.00,0:00:02.50"
                )


def _times(source: ScriptSource, number: int, event: pysubs2.SSAEvent) -> tuple[Fraction, Fraction]:
    """Start and end in seconds; those of JSON may be anything."""
    try:
        return Fraction(event.start) / 1000, Fraction(event.end) / 1000
    except (TypeError, ValueError, OverflowError):
        raise UserError(
            f"{source.name}: cue {number} has no valid times ({event.start}, {event.end}); give milliseconds"
        ) from None


def _without_drawings(text: str, unspoken: list[Unspoken]) -> str:
    """Removes the vector drawings of SubStation Alpha."""
    if "\\p" not in text:
        return text
    pieces = [(piece, style.drawing) for piece, style in parse_tags(text)]
    unspoken += [
        Unspoken(DRAWINGS, piece.strip()) for piece, is_drawing in pieces if is_drawing and piece.strip()
    ]
    return "".join(piece for piece, is_drawing in pieces if not is_drawing)


def split_voices(text: str, speaker: str = "") -> tuple[Turn, ...]:
    """Divides a text at the voice tags of WebVTT, `<v Mary Smith>`; each holds up to the next one.

    Args:
        text: of a subtitle, or of a plain script, which may have tags as well.
        speaker: of what stands before the first tag.
    """
    turns, position, current = [], 0, speaker
    for match in _VOICE.finditer(text):
        turns.append(Turn(current, text[position : match.start()]))
        position, current = match.end(), " ".join(html.unescape(match[1]).split())
    turns.append(Turn(current, text[position:]))
    return tuple(turn for turn in turns if turn.text)


def remove_formatting(text: str, unspoken: list[Unspoken]) -> str:
    """Removes tags and overrides; line breaks and characters are written out.

    Args:
        text: of a subtitle, or of a plain script, which may have tags as well.
        unspoken: to which remarks in braces are added.
    """
    text = _BREAK.sub("\n", _OVERRIDE.sub("", text)).replace("\\h", " ")
    unspoken += [Unspoken(DIRECTION, match) for match in _BRACES.findall(text) if match.strip()]
    return html.unescape(_TAG.sub("", _VOICE.sub("", _BRACES.sub(" ", text))))
