"""SubRip, WebVTT and SubViewer files: blocks of lines, checked and tidied before pysubs2 parses them.

pysubs2 takes every line with two times for a time line and every other one for text, so that identifiers,
notes, styles and broken time lines would be spoken. Source: our choice; WebVTT: W3C.
"""

import re

from dualdub_jax.errors import UserError
from dualdub_jax.text.directions import Unspoken

NOTES, STYLES, NUMBERS = "notes", "styles", "stray cue numbers and names"

_STAMP = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
_TIME_LINE = re.compile(rf"\s*{_STAMP}\s*-->\s*{_STAMP}(?:\s+.*)?")
_SUBVIEWER_LINE = re.compile(rf"\s*{_STAMP}\s*,\s*{_STAMP}\s*")
# What was meant as a time line: an arrow, or times and nothing else.
_LIKE_A_TIME_LINE = re.compile(
    r".*\d\s*:\s*\d.*(?:--+\s*>|->|-->|=>|\u2192).*\d.*|.*--+>.*\d\s*:\s*\d.*|.*\d\s*:\s*\d.*--+>.*"
    r"|\s*(?:-?\d+:\d{1,2}:\d{1,2}[.,]\d+[\s,;>-]*)+"
)
_INLINE_TIME = re.compile(r"<[\d:.]+>")
_SUBVIEWER_HEADER = re.compile(r"\s*(?:\[[A-Z][A-Z ]*\].*|\{[^}]*\})\s*")


class TidyBlocks:
    """The cues of a file in the plainest SubRip.

    Attributes:
        text: for pysubs2.
        unspoken: notes, styles and the like.
    """

    def __init__(self, name: str, text: str, is_webvtt: bool) -> None:
        """Tidies a file.

        Raises:
            UserError: a broken time line, or text that belongs to no cue; names the line.
        """
        self._name, self._is_webvtt = name, is_webvtt
        self._cues: list[tuple[str, list[str]]] = []
        self.unspoken: list[Unspoken] = []
        lines = [_INLINE_TIME.sub("", line) for line in text.split("\n")]
        block: list[str] = []
        for number, line in enumerate([*lines, ""]):
            if line.strip():
                block.append(line)
            elif block:
                self._add(block, number - len(block) + 1)
                block = []

    @property
    def text(self) -> str:
        blocks = [
            f"{number}\n{times}\n" + "\n".join(lines)
            for number, (times, lines) in enumerate(self._cues, start=1)
        ]
        # pysubs2 takes a number at the end of a cue for that of the next one, and the last cue has none.
        return "\n\n".join([*blocks, f"{len(blocks) + 1}\n"]) if blocks else ""

    def _add(self, block: list[str], first_number: int) -> None:
        """Adds one block of lines without a blank line."""
        if self._is_webvtt and self._add_comment(block):
            return
        times = [_read_times(line) for line in block]
        for offset, (line, time) in enumerate(zip(block, times, strict=True)):
            if time is None and _LIKE_A_TIME_LINE.fullmatch(line):
                raise UserError(
                    f"{self._name}: line {first_number + offset} is no valid time line ({line.strip()!r}); "
                    "write it as 00:00:01,000 --> 00:00:02,500"
                )
        for index, (line, time) in enumerate(zip(block, times, strict=True)):
            if time is not None:
                self._cues.append((time, []))
            elif (
                index + 1 < len(block)
                and times[index + 1] is not None
                and (index == 0 or line.strip().isdigit())
            ):
                # The number or name of the next cue.
                if not (line.strip().isdigit() or self._is_webvtt):
                    self.unspoken.append(Unspoken(NUMBERS, line.strip()))
            elif line.strip().isdigit() and len(block) == 1:
                self.unspoken.append(Unspoken(NUMBERS, line.strip()))
            elif self._cues and not (self._is_webvtt and not any(times[:index])):
                self._cues[-1][1].append(line)
            elif not _SUBVIEWER_HEADER.fullmatch(line):
                raise UserError(
                    f"{self._name}: line {first_number + index} belongs to no cue ({line.strip()[:40]!r}); "
                    "write a line with its times before it, 00:00:01,000 --> 00:00:02,500"
                )

    def _add_comment(self, block: list[str]) -> bool:
        """Whether the block is the header of WebVTT, a note, a style or a region."""
        head = block[0].lstrip("\ufeff")
        if head.startswith("WEBVTT"):
            if any(_read_times(line) for line in block):
                raise UserError(f"{self._name}: lacks a blank line after WEBVTT; add it")
            return True
        if re.match(r"NOTE(?:\s|$)", head):
            self.unspoken.append(Unspoken(NOTES, " ".join(" ".join(block).split()[1:])))
            return True
        if head.strip() in ("STYLE", "REGION"):
            self.unspoken.append(Unspoken(STYLES, head.strip()))
            return True
        return False


def _read_times(line: str) -> str | None:
    """A time line in its plainest form; None if `line` is none."""
    match = _TIME_LINE.fullmatch(line) or _SUBVIEWER_LINE.fullmatch(line)
    if match is None:
        return None
    stamps = []
    for hours, minutes, seconds, fraction in (match.groups()[:4], match.groups()[4:]):
        if int(hours or 0) > 99 or int(minutes) > 59 or int(seconds) > 59:
            return None
        stamps.append(f"{int(hours or 0):02d}:{int(minutes):02d}:{int(seconds):02d},{(fraction or '0'):0<3}")
    return " --> ".join(stamps)
