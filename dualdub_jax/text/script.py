"""Reads a script: from text, a text file or subtitles to the words that are spoken, and what is not spoken.

    source -> subtitles -> directions -> words                    (one module each)

Nothing that is written is left out unsaid: speaker labels, stage directions, notes, drawings and characters
without a sound are listed in the script's warnings. Source: our choice.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from dualdub_jax.errors import UserError
from dualdub_jax.text.directions import SPEAKER, Unspoken, separate_directions
from dualdub_jax.text.language import foreign_language
from dualdub_jax.text.normaliser import normalise
from dualdub_jax.text.script_source import INLINE, ScriptSource, open_source
from dualdub_jax.text.speakers import Turn, distinct_names
from dualdub_jax.text.subtitles import (
    Subtitle,
    find_format,
    read_subtitles,
    remove_formatting,
    split_voices,
)
from dualdub_jax.text.words import Word, join_words

# Subtitle times are rounded to milliseconds or frames: a cue may end this much after the video.
CUE_TOLERANCE_S = Fraction(1, 20)
CHARACTERS = "characters without pronunciation"
# What transcripts begin their lines with: 0:01, [00:00:01.5], (1:02).
_STAMP = re.compile(r"\s*[\[(<]?(?:(\d{1,2}):)?(\d{1,2}):(\d\d)(?:[.,]\d+)?[\])>]?(?![\w:])")
_MOST_NAMED = 10  # pieces in a warning


@dataclasses.dataclass(frozen=True)
class Cue:
    """Words to be spoken between two times, in seconds from the first frame.

    Attributes:
        start_s, end_s: the times.
        words: what is spoken, and by whom.
        number: from 1, in the order of the file; those without words count as well.
    """

    start_s: Fraction
    end_s: Fraction
    words: tuple[Word, ...]
    number: int

    @property
    def speaker(self) -> str | None:
        """Who speaks, where the script names somebody; several are separated by commas."""
        return ", ".join(distinct_names(word.speaker for word in self.words)) or None


@dataclasses.dataclass(frozen=True)
class Script:
    """A normalised script.

    Attributes:
        source: the file's name, or "--script", for messages.
        words: all words in order.
        cues: the same words with times, in order of their starts; empty for an untimed script.
        unspoken: what is written and not spoken, by kind.
        warnings: for the user, one sentence each.
    """

    source: str = INLINE
    words: tuple[Word, ...] = ()
    cues: tuple[Cue, ...] = ()
    unspoken: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The whole normalised script."""
        return join_words(self.words)


def read_script(
    argument: str,
    duration_s: Fraction,
    allow_overrun: bool = False,
    rate_hz: float | None = None,
    names: Sequence[str] = (),
) -> Script:
    """Reads and normalises the user's script.

    Args:
        argument: the text, or the path of a text or subtitle file; see `script_source.open_source`. Empty: no
            speech.
        duration_s: of the video, seconds.
        allow_overrun: truncate cues at the end of the video instead of raising an error.
        rate_hz: pictures a second of the video, for subtitles whose times are frames.
        names: of known speakers, whose labels are recognised in any case and script.

    Raises:
        UserError: the file is missing, not UTF-8, not text or malformed; a cue starts before the video, ends
            after it or before its own start; or nothing in the script can be spoken.
    """
    if not argument.strip():
        return Script()
    source = open_source(argument)
    format_ = find_format(source)
    if format_ is None:
        _check_untimed(source, duration_s)
        return _untimed(source, names)
    return _timed(source, format_, duration_s, allow_overrun, rate_hz, names)


def _check_untimed(source: ScriptSource, duration_s: Fraction) -> None:
    """Refuses transcripts whose lines begin with times: they would be spoken, or be lost."""
    lines = [line for line in source.text.split("\n") if line.strip()]
    stamps = [match for match in map(_STAMP.match, lines) if match]
    times = [_seconds(*match.groups()) for match in stamps]
    is_clock = len(stamps) > 1 and times == sorted(set(times)) and times[-1] <= duration_s
    if is_clock and 2 * len(stamps) >= len(lines):
        raise UserError(
            f"{source.name}: its lines begin with times ({stamps[0][0].strip()}, {stamps[1][0].strip()}, …), "
            "which plain text cannot have; give a .srt or .vtt file, or remove the times"
        )


def _seconds(hours: str | None, minutes: str, seconds: str) -> int:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)


def _untimed(source: ScriptSource, names: Sequence[str]) -> Script:
    remarks: list[Unspoken] = []
    turns = [Turn(turn.speaker, remove_formatting(turn.text, remarks)) for turn in split_voices(source.text)]
    words, text, unspoken = _spoken(turns, names)
    return _finish(source, words, (), [*remarks, *unspoken], [text], names)


def _timed(
    source: ScriptSource,
    format_: str,
    duration_s: Fraction,
    allow_overrun: bool,
    rate_hz: float | None,
    names: Sequence[str],
) -> Script:
    parsed = read_subtitles(source, format_, rate_hz)
    unspoken, warnings, texts = list(parsed.unspoken), list(parsed.warnings), []
    cues: list[Cue] = []
    for subtitle in _without_duplicates(parsed.subtitles):
        words, text, removed = _spoken(subtitle.turns, names)
        if words:  # the times of music and remarks are of no account
            _check_times(source, subtitle, duration_s, allow_overrun)
        if words and subtitle.start_s >= duration_s:
            warnings.append(f"{source.name}: cue {subtitle.number} starts after the film and is not spoken")
            continue
        unspoken += removed
        texts.append(text)
        if words:
            end_s = min(subtitle.end_s, duration_s)
            cues.append(Cue(subtitle.start_s, end_s, words, subtitle.number))
    cues.sort(key=lambda cue: cue.start_s)
    warnings += _overlaps(source, cues)
    words = tuple(word for cue in cues for word in cue.words)
    return _finish(source, words, tuple(cues), unspoken, texts, names, warnings)


def _spoken(turns: Sequence[Turn], names: Sequence[str]) -> tuple[tuple[Word, ...], str, list[Unspoken]]:
    """The words of a text, with their speakers; the text without labels; and what of it is not spoken."""
    words: list[Word] = []
    texts, unspoken, dropped = [], [], {}
    for turn in turns:
        separated = separate_directions(turn.text, names, turn.speaker)
        unspoken += separated.unspoken
        texts.append(separated.text)
        for speaker, text in separated.turns:
            normalised, unknown = normalise(text)
            words += (dataclasses.replace(word, speaker=speaker) for word in normalised)
            dropped |= dict.fromkeys(unknown)
    unspoken += (Unspoken(CHARACTERS, character) for character in dropped)
    return tuple(words), "".join(texts), unspoken


def _without_duplicates(subtitles: Sequence[Subtitle]) -> Iterator[Subtitle]:
    """Typesetting draws the same line several times, in layers; it is spoken once."""
    seen = set()
    for subtitle in subtitles:
        key = subtitle.start_s, subtitle.end_s, subtitle.turns
        if key not in seen:
            seen.add(key)
            yield subtitle


def _check_times(source: ScriptSource, subtitle: Subtitle, duration_s: Fraction, allow_overrun: bool) -> None:
    start_s, end_s = float(subtitle.start_s), float(subtitle.end_s)
    cue = f"{source.name}: cue {subtitle.number}"
    if subtitle.start_s < 0:
        raise UserError(f"{cue} starts at {start_s:.2f} s, before the video; correct its times")
    if subtitle.end_s <= subtitle.start_s:
        raise UserError(
            f"{cue} ends at {end_s:.2f} s, not after its start at {start_s:.2f} s; correct its times"
        )
    if subtitle.end_s > duration_s + CUE_TOLERANCE_S and not allow_overrun:
        raise UserError(
            f"{cue} ends at {end_s:.2f} s but the video is {float(duration_s):.2f} s long; "
            "shorten the cue or pass --allow-overrun"
        )


def _overlaps(source: ScriptSource, cues: Sequence[Cue]) -> list[str]:
    """Says which cues overlap by more than rounding: the model speaks one at a time."""
    pairs = [
        f"{before.number} and {after.number}"
        for before, after in itertools.pairwise(cues)
        if after.start_s < before.end_s - CUE_TOLERANCE_S
    ]
    if not pairs:
        return []
    return [f"{source.name}: cues overlap and are spoken one after the other: {listed(pairs)}"]


def _finish(
    source: ScriptSource,
    words: tuple[Word, ...],
    cues: tuple[Cue, ...],
    unspoken: Sequence[Unspoken],
    texts: Sequence[str],
    names: Sequence[str],
    warnings: Sequence[str] = (),
) -> Script:
    by_kind: dict[str, dict[str, None]] = {}
    for piece in unspoken:
        by_kind.setdefault(piece.kind, {})[piece.text] = None
    if not words:
        reasons = [
            *(_told(kind, [*pieces]) for kind, pieces in by_kind.items()),
            *(warning.removeprefix(f"{source.name}: ") for warning in warnings),
        ]
        found = f" ({'; '.join(reasons)})" if reasons else ""
        mend = "write it in Latin letters" if CHARACTERS in by_kind else "write the words to speak"
        raise UserError(
            f"{source.name}: nothing in it can be spoken{found}; {mend}, or leave out {INLINE} for a film "
            "without speech"
        )
    notes = [
        f"{source.name}: not spoken: {_told(kind, [*pieces])}"
        for kind, pieces in by_kind.items()
        if not (kind == SPEAKER and names)  # labels choose voices then
    ]
    if (language := foreign_language(" ".join(texts))) is not None:
        notes.append(
            f"{source.name}: seems to be in {language} and will be pronounced as English; write it in English"
        )
    kinds = {kind: tuple(pieces) for kind, pieces in by_kind.items()}
    return Script(source.name, words, cues, kinds, (*notes, *warnings))


def _told(kind: str, pieces: Sequence[str]) -> str:
    return f"{kind} {listed(pieces, ' ' if kind == CHARACTERS else ', ')}"


def listed(pieces: Sequence[str], separator: str = ", ") -> str:
    """Pieces of a message, the first ten of them, long ones cut."""
    shown = [piece if len(piece) <= 60 else f"{piece[:57]}..." for piece in pieces[:_MOST_NAMED]]
    rest = f" and {len(pieces) - _MOST_NAMED} more" if len(pieces) > _MOST_NAMED else ""
    return separator.join(shown) + rest
