"""Rows of a table or of a shard as source clips: columns by their usual names, or by the user's."""

import json
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dualdub_jax.data_pipeline.builders.clips.media_file import MediaFile
from dualdub_jax.data_pipeline.builders.clips.source_clip import MEDIA, SourceClip, Word
from dualdub_jax.errors import UserError

# What a column is for -> names by which it is found, case and "-" for "_" aside.
COLUMNS: dict[str, tuple[str, ...]] = {
    "id": ("id", "clip_id", "utterance_id", "utt_id", "uid"),
    "video": ("video", "video_path", "video_file", "film", "movie", "mp4"),
    "audio": ("audio", "audio_path", "audio_file", "mix", "mixture", "sound", "wav"),
    "speech": ("speech", "speech_path", "vocals", "dialogue", "dialog"),
    "background": ("background", "background_path", "bgm", "music_and_effects", "foley"),
    "voice": ("voice", "voice_path", "reference", "reference_voice", "ref_audio"),
    "file": ("file", "path", "filename", "file_name", "filepath"),
    "text": ("text", "transcript", "transcription", "script", "sentence", "normalized_text"),
    "words": ("words", "word_times", "alignment", "word_timestamps"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "voice_id", "client_id"),
    "language": ("language", "lang", "locale"),
    "licence": ("licence", "license"),
    "split": ("split", "subset", "set"),
    "start": ("start", "start_s", "start_time", "start_seconds", "begin"),
    "end": ("end", "end_s", "end_time", "end_seconds"),
}
# Of video files.
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm",
    ".wmv",
})  # fmt: skip
_MAX_S = 1e7  # four months: beyond it a time is in another unit, and containers cannot count it


def parse_columns(texts: Iterable[str]) -> dict[str, str]:
    """ "text=transcript" -> {"text": "transcript"}.

    Raises:
        UserError: not of that form, or nothing that columns are for.
    """
    found = {}
    for text in texts:
        use, is_given, column = text.partition("=")
        if not is_given or not column or use not in COLUMNS:
            raise UserError(
                f"--column {text}: expected USE=COLUMN such as text=transcript; uses are {', '.join(COLUMNS)}"
            )
        found[use] = column
    return found


def find_columns(names: Iterable[str], wanted: Mapping[str, str], where: str) -> dict[str, str]:
    """Use -> column of a table.

    Args:
        names: all columns of the table.
        wanted: use -> column, as the user names them; others are found by `COLUMNS`.
        where: the table, for errors.

    Raises:
        UserError: a wanted column is not there, or there is none of media.
    """
    names = list(names)
    for use, column in wanted.items():
        if column not in names:
            raise UserError(
                f"{where}: --column {use}={column}: there is no such column; it has {', '.join(names)}"
            )
    plain = {name.strip().lower().replace("-", "_").replace(" ", "_"): name for name in reversed(names)}
    found = dict(wanted)
    for use, known in COLUMNS.items():
        column = next((plain[name] for name in known if name in plain), None)
        if use not in found and column is not None and column not in found.values():
            found[use] = column
    if not {*MEDIA[:-1], "file"} & set(found):
        raise UserError(
            f"{where}: no column of media among {', '.join(names) or 'none'}; name one, such as "
            f"--column video={names[0] if names else 'COLUMN'}"
        )
    return found


def clip_of_row(
    row: Mapping[str, Any],
    columns: Mapping[str, str],
    name: str,
    open_media: Callable[[Any], MediaFile | None],
) -> SourceClip:
    """A row as a source clip.

    Args:
        row: column -> value; None and, but for the text, "" are absent.
        columns: use -> column.
        name: the clip's id if no column has it.
        open_media: value of a cell of media -> the medium; None is absent.

    Raises:
        ValueError: what is wrong with the row.
    """
    cells = {use: row.get(column) for use, column in columns.items()}
    media = {use: medium for use in MEDIA if (medium := open_media(cells.get(use))) is not None}
    if (medium := open_media(cells.get("file"))) is not None:
        kind = "video" if pathlib.PurePosixPath(medium.name).suffix.lower() in VIDEO_SUFFIXES else "audio"
        media.setdefault(kind, medium)
    if not set(media) - {"voice"}:
        raise ValueError("names no media")
    start_s, end_s = (_seconds(cells.get(use), use) for use in ("start", "end"))
    if end_s is not None and end_s <= (start_s or 0):
        raise ValueError(f"ends at {end_s:g} s, not after its start at {start_s or 0:g} s")
    text = cells.get("text")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"its text is {text!r}, no text")
    if text is not None:
        _check_letters(text, "text")
    labels = {use: _label(cells.get(use), use) for use in ("speaker", "language", "licence", "split")}
    films = (cells.get(use) for use in ("video", "audio", "file", "speech", "background"))
    return SourceClip(
        id=_label(cells.get("id"), "id") or name,
        media=media,
        text=text,
        words=parse_words(cells.get("words")),
        start_s=start_s or 0.0,
        end_s=end_s,
        # Rows of one film stay in one split.
        group=next((film for film in films if film and isinstance(film, str)), ""),
        **labels,
    )


def parse_words(value: Any) -> tuple[Word, ...]:
    """Times of words: [[text, start_s, end_s], …] or [{"word": …, "start": …, "end": …}, …], or JSON of them.

    Raises:
        ValueError: anything else.
    """
    try:
        rows = json.loads(value) if isinstance(value, str) and value.strip() else value
        words = []
        for row in rows or ():
            if isinstance(row, Mapping):
                row = (row.get("word", row.get("text")), row["start"], row["end"])
            text, start_s, end_s = row
            _check_letters(str(text), "words")
            words.append((str(text), float(start_s), float(end_s)))
        if any(not 0 <= start_s <= end_s < _MAX_S for _, start_s, end_s in words):
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"its word times are {str(value)[:60]!r}, expected [[text, start_s, end_s], …]"
        ) from None
    return tuple(words)


def _seconds(value: Any, use: str) -> float | None:
    """A time in seconds, also as hours:minutes:seconds."""
    if value is None or value == "":
        return None
    try:
        seconds = 0.0
        for part in str(value).strip().split(":"):
            seconds = 60 * seconds + float(part)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < _MAX_S:
        raise ValueError(f"its {use} is {value!r}, expected seconds")
    return seconds


def _label(value: Any, use: str) -> str:
    text = "" if value is None else str(value).strip()
    _check_letters(text, use)
    if any(letter < " " or letter == "\x7f" for letter in text):
        raise ValueError(f"its {use} is {text[:60]!r}, which has control characters")
    return text


def _check_letters(text: str, use: str) -> None:
    """Refuses half characters, which stand for bytes of another encoding and which no file can hold."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"its {use} is not UTF-8")
