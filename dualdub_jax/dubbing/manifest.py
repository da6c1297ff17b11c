"""Reads a manifest of films: a line for each, with the fields of a request and of its outputs.

JSON Lines, or a table (.csv with commas or semicolons, .tsv) whose first row names the fields; an empty cell
is a field that is not given. Inputs are relative to the manifest, outputs to the folder of the run. In an
output, `{name}` stands for the name of the line's film. All faults are found before the work and reported
together.
"""

import csv
import dataclasses
import io
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dualdub_jax.dubbing.delivery import Targets
from dualdub_jax.dubbing.manifest_fields import PLACES, PROJECT, check_names, read_fields
from dualdub_jax.dubbing.mix_settings import MixSettings
from dualdub_jax.errors import UserError, UserErrors

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_MOST_ERRORS = 20
_NAME = "{name}"
_PLACEHOLDER = re.compile(r"\{\w*\}")
Raw = dict[str, Any]  # a line as it is written


@dataclasses.dataclass(frozen=True)
class FilmLine:
    """A line of a manifest.

    Attributes:
        number: of the line, from 1.
        raw: as it is written, with the defaults of the command line.
        settings: arguments of `DubRequest`.
        targets: the files to write.
        project: a folder that keeps the project; None: it is not kept.
    """

    number: int
    raw: Raw
    settings: Mapping[str, Any]
    targets: Targets
    project: pathlib.Path | None = None

    @property
    def video(self) -> pathlib.Path:
        return self.settings["video"]


def read_manifest(
    path: pathlib.Path,
    out: pathlib.Path,
    settings: Mapping[str, Any],
    outputs: Mapping[str, Any],
) -> list[FilmLine]:
    """Reads a manifest and checks what depends on it alone.

    Args:
        path: of the manifest.
        out: folder of the outputs.
        settings: of all lines that do not have their own: arguments of `DubRequest`.
        outputs: likewise, arguments of `Targets` and "project"; relative to `out`.

    Raises:
        UserErrors: the manifest cannot be read, lines are malformed, or two lines write the same file.
    """
    lines, errors = [], []
    for number, found in _raw_lines(path):
        try:
            if isinstance(found, UserError):
                raise found
            lines.append(_film_line(path, out, number, found, settings, outputs))
        except UserError as error:
            errors.append(f"{path}, line {number}: {error}")
    if not lines and not errors:
        raise UserError(f'{path}: holds no film; give a line for each, such as {{"video": "film.mp4"}}')
    errors += _collisions(path, lines)
    if errors:
        more = [f"{path}: and {len(errors) - _MOST_ERRORS} more"] if len(errors) > _MOST_ERRORS else []
        raise UserErrors(errors[:_MOST_ERRORS] + more)
    return lines


def _raw_lines(path: pathlib.Path) -> Iterator[tuple[int, Raw | UserError]]:
    delimiter = _DELIMITERS.get(path.suffix.lower())
    what = "a table whose first row names the fields" if delimiter else "one JSON object a line"
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path}: is a pipe or a device; save it as a file with {what}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UserError(f"{path}: cannot be read ({reason}); give a file with {what}") from None
    return _table_rows(path, text, delimiter) if delimiter else _json_lines(text)


def _json_lines(text: str) -> Iterator[tuple[int, Raw | UserError]]:
    # Not `splitlines`, which splits at characters that JSON allows inside of strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line, object_pairs_hook=_distinct)
        except UserError as error:
            yield number, error
        except (ValueError, RecursionError) as error:
            yield number, UserError(f"not JSON ({getattr(error, 'msg', error)}); correct the line")
        else:
            is_object = isinstance(item, dict)
            yield (
                number,
                item if is_object else UserError(f"expected an object {{…}}, got {line.strip()[:40]}"),
            )


def _distinct(pairs: list[tuple[str, Any]]) -> Raw:
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f'"{twice}" is given twice; give it once')
    return dict(pairs)


def _table_rows(path: pathlib.Path, text: str, delimiter: str) -> Iterator[tuple[int, Raw | UserError]]:
    first_line = text.lstrip().partition("\n")[0]
    if delimiter == "," and delimiter not in first_line and ";" in first_line:
        delimiter = ";"  # spreadsheets write it where the comma is the decimal separator
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    number = 1
    try:
        for cells in reader:
            first, number = number, reader.line_num + 1
            while cells and not cells[-1].strip():  # spreadsheets write empty columns as well
                cells.pop()
            if not cells:
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                if len(set(header)) < len(header):
                    raise UserError(f"{path}, line {first}: a column is named twice; name it once")
                try:
                    check_names(header)
                except UserError as error:
                    raise UserError(
                        f"{path}, line {first}: the first row names the fields: {error}"
                    ) from None
            elif len(cells) > len(header):
                yield (
                    first,
                    UserError(
                        f"has {len(cells)} cells, the first row names {len(header)}; quote cells with "
                        f"{'tabs' if delimiter == chr(9) else delimiter}"
                    ),
                )
            else:
                row = zip(header, cells, strict=False)
                yield first, {name: cell for name, cell in row if cell.strip()}
    except csv.Error as error:
        yield number, UserError(f"not a row of a table ({error}); correct the line")


def _film_line(
    path: pathlib.Path,
    out: pathlib.Path,
    number: int,
    found: Raw,
    settings: Mapping[str, Any],
    outputs: Mapping[str, Any],
) -> FilmLine:
    fields = read_fields(found, path.parent, path.suffix.lower() in _DELIMITERS)
    if "video" not in fields.settings:
        raise UserError('has no "video"; name the film')
    sampling = dict(settings.get("sampling") or {}) | fields.nested["sampling"]
    mix = dataclasses.replace(settings.get("mix") or MixSettings(), **fields.nested["mix"])
    places = {"out": f"{fields.settings['video'].stem}.mp4"} | dict(outputs) | fields.outputs
    targets, project = _targets(out, places)
    raw = {name: str(value) for name, value in [*settings.items(), *outputs.items()]} | found
    chosen = {**settings, **fields.settings, "sampling": sampling, "mix": mix}
    return FilmLine(number, raw, chosen, targets, project)


def _targets(out: pathlib.Path, places: Mapping[str, Any]) -> tuple[Targets, pathlib.Path | None]:
    name = pathlib.Path(places["out"]).stem

    def placed(place: str | bool) -> pathlib.Path | bool:
        if place is True:
            return place
        if unknown := set(_PLACEHOLDER.findall(place)) - {_NAME}:
            raise UserError(f"{place}: no placeholder {min(unknown)}; there is {_NAME}")
        return out / place.replace(_NAME, name)

    given = {key: placed(value) if key in PLACES else value for key, value in places.items()}
    given["subtitles"] = tuple(placed(place) for place in given.get("subtitles") or () if place)
    project = given.pop(PROJECT, None)
    return Targets(**given), project


def _collisions(path: pathlib.Path, lines: Sequence[FilmLine]) -> Iterator[str]:
    """Files that two lines write, or that one writes and another reads."""
    written: dict[str, int] = {}
    read = {os.path.realpath(file): line.number for line in lines for file in input_files(line.settings)}
    for line in lines:
        for file in [*line.targets.files(), *filter(None, [line.project])]:
            real = os.path.realpath(file)
            if real in written:
                other = written[real]
                if other != line.number:
                    mend = 'give one of them another "out"'
                    if file != line.targets.out:
                        mend += f", and tell their other outputs apart by {_NAME}"
                    yield f"{path}, line {line.number}: writes {file}, as line {other} does; {mend}"
                    break
            elif real in read:
                yield (
                    f"{path}, line {line.number}: {file} is an input of line {read[real]} and would be "
                    "overwritten; give another output"
                )
                break
            written[real] = line.number


def input_files(settings: Mapping[str, Any]) -> list[pathlib.Path]:
    """Files that a request reads; the script may be text, which is no file's name."""
    voices = settings.get("voices")
    several = voices.values() if isinstance(voices, Mapping) else [voices]
    sounds = settings["mix"].inputs if settings.get("mix") else ()
    named = [settings["video"], settings.get("voice"), settings.get("script"), *several, *sounds]
    return [pathlib.Path(file) for file in named if file and "\0" not in str(file)]
