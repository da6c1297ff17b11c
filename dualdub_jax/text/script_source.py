"""Where a script comes from: the user's words, or a file of them, decoded and known to be text."""

import dataclasses
import pathlib
import re

from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import as_local_path

INLINE = "--script"
_URL = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://\S+\s*")
TEXT_SUFFIXES = (".txt", ".md")
SUBTITLE_SUFFIXES = (
    *(".srt", ".vtt", ".ass", ".ssa", ".sub", ".ttml", ".dfxp", ".xml", ".smi", ".sami"),
    *(".json", ".mpl", ".sbv"),
)
KINDS = "UTF-8 text, or subtitles: .srt, .vtt, .ass, .ssa, .sub, .ttml, .smi, .json"
# Names of other files: a path that does not exist, and never a text to be spoken.
_OTHER_SUFFIXES = (
    *(".rtf", ".doc", ".docx", ".odt", ".pages", ".pdf", ".html", ".htm", ".zip"),
    *(".csv", ".tsv", ".xlsx", ".ods", ".fdx", ".fountain"),  # tables and screenplays
    *(".lrc", ".scc", ".stl", ".idx", ".sup", ".cap", ".pac", ".xif"),  # other subtitles
    *(".mp4", ".m4v", ".mkv", ".mov", ".webm", ".avi", ".wav", ".mp3", ".m4a", ".ogg", ".flac"),
    *(".png", ".jpg", ".jpeg"),
)
_MAX_BYTES = 4_000_000  # the subtitles of a long film take 0.2 MB

_SIGNATURES = (
    (0, b"%PDF", "a PDF document"), (0, b"{\\rtf", "an RTF document"),
    (0, b"PK\x03\x04", "a ZIP archive or an office document"), (0, b"\xd0\xcf\x11\xe0", "an office document"),
    (0, b"\x89PNG", "a picture"), (0, b"\xff\xd8\xff", "a picture"), (0, b"GIF8", "a picture"),
    (0, b"BM", "a picture") , (8, b"WEBP", "a picture"),
    (4, b"ftyp", "a media file"), (0, b"\x1aE\xdf\xa3", "a media file"), (0, b"OggS", "a media file"),
    (0, b"RIFF", "a media file"), (0, b"fLaC", "a media file"), (0, b"ID3", "a media file"),
    (0, b"\x1f\x8b", "a compressed file"), (0, b"\x00\x00\x01\xba", "a file of VobSub pictures"),
)  # fmt: skip
_WEB_PAGE = (b"<!doctype html", b"<html")
# Byte order marks, the longer ones first.
_MARKS = (
    (b"\x00\x00\xfe\xff", "UTF-32"), (b"\xff\xfe\x00\x00", "UTF-32"), (b"\xfe\xff", "UTF-16"),
    (b"\xff\xfe", "UTF-16"), (b"\xef\xbb\xbf", "UTF-8-sig"),
)  # fmt: skip
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\r\f\v\x1a\x1b")


@dataclasses.dataclass(frozen=True)
class ScriptSource:
    """A script before it is parsed.

    Attributes:
        name: the file's path, or `INLINE`, for messages.
        text: all of it; line ends are newlines.
        suffix: of the file's name, lower case; "" for words.
    """

    name: str
    text: str
    suffix: str = ""


def open_source(argument: str) -> ScriptSource:
    """Opens the user's script.

    Args:
        argument: words, or the path of a file. It is a path if such a file exists, or if it is written like
            one: it ends in the suffix of a document, or begins with "/", "./" or "../".

    Raises:
        UserError: the file is missing, a folder, empty, too large, unreadable, in another encoding than
            UTF-8 without a byte order mark that names it, or no text.
    """
    if _URL.fullmatch(argument):
        as_local_path(argument, INLINE)
    path = _as_path(argument)
    if path is None:
        if "\x00" in argument:
            raise UserError(f"{INLINE}: holds NUL characters; give text")
        return ScriptSource(INLINE, _newlines(argument))
    data = _read(path)
    if path.suffix.lower() in _OTHER_SUFFIXES:
        raise UserError(f"{path}: is a {path.suffix.lower()} file, which is not read; give {KINDS}")
    text = _newlines(_decode(path, data))
    if not text.strip("\ufeff \t\n"):
        raise UserError(f"{path}: is empty: nothing to speak; leave out {INLINE} for a film without speech")
    return ScriptSource(str(path), text, path.suffix.lower())


def in_folder(argument: str, folder: pathlib.Path) -> str:
    """The argument of `open_source` with its path, if it is one, taken from a folder; words remain."""
    path = _as_path(argument, folder)
    return argument if path is None else str(path)


def _as_path(argument: str, folder: pathlib.Path = pathlib.Path()) -> pathlib.Path | None:
    if not argument.strip():
        return None
    path = folder / argument
    try:
        if path.exists():
            return path
    except (OSError, ValueError):  # too long for a file name, or with a null byte: text
        return None
    has_suffix = path.suffix.lower() in (*TEXT_SUFFIXES, *SUBTITLE_SUFFIXES, *_OTHER_SUFFIXES)
    is_rooted = argument.startswith(("/", "./", "../", "~/")) and len(argument.split()) == 1
    return path if (has_suffix or is_rooted) and "\n" not in argument else None


def _read(path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such script file; give a path that exists, or the text itself") from None
    except IsADirectoryError:
        raise UserError(
            f"{path}: is a folder, not a script; give a file ({KINDS}), or the text itself"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a readable script file") from None
    if len(data) > _MAX_BYTES:
        raise UserError(f"{path}: is larger than {_MAX_BYTES // 10**6} MB, no script; give {KINDS}")
    return data


def _decode(path: pathlib.Path, data: bytes) -> str:
    """The text of a file: in the encoding of its byte order mark, or in UTF-8."""
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    if encoding is None and (kind := _kind(data)) is not None:
        raise UserError(f"{path}: is {kind}, not a script; give {KINDS}")
    if encoding is None and b"\x00" in data:
        if _is_utf_16(data):
            raise _wrong_encoding(path, "UTF-16")
        raise UserError(f"{path}: is a binary file (byte {data.index(0)} is NUL), not a script; give {KINDS}")
    try:
        text = data.decode(encoding or "UTF-8")
    except UnicodeDecodeError as error:
        is_binary = any(byte in _CONTROL for byte in data)
        if is_binary or encoding not in (None, "UTF-8-sig"):
            raise UserError(f"{path}: is a binary file, not a script; give {KINDS}") from None
        found = f"byte {error.start} is 0x{data[error.start]:02x}"
        raise _wrong_encoding(path, _guess_encoding(data), found) from None
    if any(ord(character) in _CONTROL for character in text):
        raise UserError(f"{path}: is a binary file, not a script; give {KINDS}")
    return text


def _kind(data: bytes) -> str | None:
    for offset, signature, kind in _SIGNATURES:
        is_short = len(signature) == 2  # two letters may begin a text as well
        if data.startswith(signature, offset) and not (is_short and b"\x00" not in data[:64]):
            return kind
    return "a web page" if data[:200].lstrip().lower().startswith(_WEB_PAGE) else None


def _is_utf_16(data: bytes) -> bool:
    """Whether every second byte of mostly Latin text is zero."""
    fewer, more = sorted((data[0::2].count(0), data[1::2].count(0)))
    return more > 0.3 * len(data) and fewer < 0.1 * len(data)


def _guess_encoding(data: bytes) -> str:
    """The most likely encoding: that of Western Windows if few bytes are beyond ASCII."""
    is_mostly_ascii = sum(byte > 127 for byte in data) < 0.3 * len(data)
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "another encoding"
    return "Windows-1252" if is_mostly_ascii else "another encoding"


def _wrong_encoding(path: pathlib.Path, encoding: str, found: str = "") -> UserError:
    details = f" ({found})" if found else ""
    guess = f"; it is {encoding}" if not found else f"; perhaps it is {encoding}"
    convert = "" if encoding == "another encoding" else f", for example by `iconv -f {encoding} -t UTF-8`"
    return UserError(f"{path}: not UTF-8{details}{guess}; save the script as UTF-8{convert}")


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
