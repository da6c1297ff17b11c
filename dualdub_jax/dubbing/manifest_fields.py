"""The fields of a line of a manifest: those of a request, its sampler and its mix, and those of the outputs.

In JSON values have the types of the fields; the cells of a table are text, and objects in them JSON.
"""

import dataclasses
import difflib
import functools
import json
import pathlib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from dualdub_jax.config import SamplingConfig
from dualdub_jax.dubbing.delivery import Targets
from dualdub_jax.dubbing.mix_settings import MixSettings
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError
from dualdub_jax.media.original_sound import OF_FILM
from dualdub_jax.text.script_source import in_folder

PROJECT = "project"  # beside the fields of `Targets`: a folder that keeps the project
PLACES = ("out", "stems", "receipt", "report", PROJECT)
_NESTED = {"sampling": SamplingConfig, "mix": MixSettings}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_SCALARS = (
    *((bool, "true or false"), (int, "a whole number"), (float, "a number")),
    *((pathlib.Path, "a path"), (str, "text")),
)


@dataclasses.dataclass(frozen=True)
class Fields:
    """The values of a line, by name.

    Attributes:
        settings: arguments of `DubRequest`.
        nested: fields of its settings of the sampler and of the mix, which a line may name as its own.
        outputs: arguments of `Targets`, and "project".
    """

    settings: dict[str, Any]
    nested: dict[str, dict[str, Any]]
    outputs: dict[str, Any]


def read_fields(found: Mapping[str, Any], folder: pathlib.Path, is_table: bool) -> Fields:
    """Reads the values of a line.

    Args:
        found: as it is written.
        folder: of the manifest, from which the paths of inputs are taken.
        is_table: whether values are the cells of a table.

    Raises:
        UserError: an unknown field, or a value of another type.
    """
    hints = _all_hints()
    fields = Fields({}, {name: {} for name in _NESTED}, {})
    check_names(found)
    for name, value in found.items():
        if value is None:
            continue
        if name in _NESTED:
            of = _NESTED[name]
            for key, setting in _object(name, value, is_table).items():
                if key not in hints[of]:
                    raise UserError(f"{name}: no setting {key}; {_listed(hints[of])}")
                fields.nested[name][key] = _read(key, hints[of][key], setting, folder, is_table)
        elif name in PLACES or name in hints[Targets]:
            fields.outputs[name] = _output(name, hints[Targets].get(name), value, is_table)
        elif name in hints[DubRequest]:
            fields.settings[name] = _read(name, hints[DubRequest][name], value, folder, is_table)
        else:
            (nested,) = (key for key, of in _NESTED.items() if name in hints[of])
            hint = hints[_NESTED[nested]][name]
            fields.nested[nested][name] = _read(name, hint, value, folder, is_table)
    return fields


def check_names(names: Iterable[str]) -> None:
    """Checks that all fields are known.

    Raises:
        UserError: the first unknown one, with the nearest known one, or all.
    """
    known = [name for of in _all_hints().values() for name in of if name not in _NESTED] + [*_NESTED, PROJECT]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, n=1)
            raise UserError(f'no field "{name}"; ' + (f"did you mean {near[0]}?" if near else _listed(known)))


@functools.cache
def _all_hints() -> dict[type, dict[str, Any]]:
    return {of: _hints(of) for of in (DubRequest, Targets, SamplingConfig, MixSettings)}


def _hints(of: type) -> dict[str, Any]:
    hints = typing.get_type_hints(of)
    return {field.name: hints[field.name] for field in dataclasses.fields(of)}


def _listed(names: Iterable[str]) -> str:
    return f"there are {', '.join(names)}"


def _output(name: str, hint: Any, value: Any, is_table: bool) -> Any:
    if name in PLACES:
        return _path_text(name, value)
    if name == "subtitles":
        several = value if isinstance(value, list) else _several(value) if is_table else [value]
        return [_subtitles(name, one, is_table) for one in several]
    if name == "audio_tracks":
        several = _several(value) if isinstance(value, str) else value
        if not isinstance(several, list) or not all(isinstance(one, str) for one in several):
            raise _wrong(name, value, 'a list of tracks, such as ["mix", "speech"]')
        return tuple(several)
    return _scalar(name, hint, value, is_table)


def _several(value: Any) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _subtitles(name: str, value: Any, is_table: bool) -> Any:
    if is_table and value.lower() in _TRUTH:
        value = _TRUTH[value.lower()]
    return value if isinstance(value, bool) else _path_text(name, value)


def _read(name: str, hint: Any, value: Any, folder: pathlib.Path, is_table: bool) -> Any:
    """A setting; the paths in it are taken from `folder`."""
    if name == "script":
        return in_folder(_scalar(name, hint, value, is_table), folder)
    if name == "voices":
        if isinstance(value, Mapping) or (is_table and value.lstrip().startswith("{")):
            return {
                key: folder / _path_text(key, path) for key, path in _object(name, value, is_table).items()
            }
        if not isinstance(value, str):
            raise _wrong(name, value, 'an object, such as {"MARY": "mary.wav"}, or the path of one')
        return folder / _path_text(name, value)
    if name == "keep_original":
        return _sounds(name, value, folder, is_table)
    value = _scalar(name, hint, value, is_table)
    return folder / value if isinstance(value, pathlib.Path) else value


def _sounds(name: str, value: Any, folder: pathlib.Path, is_table: bool) -> Any:
    """Gains by sound, or texts as "music.wav=-12dB"."""
    if isinstance(value, Mapping):
        return {_sound(key, folder): _scalar(key, float, gain, False) for key, gain in value.items()}
    several = _several(value) if is_table else [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not all(isinstance(one, str) for one in several):
        raise _wrong(name, value, '"FILE=GAIN", or a list of them')
    return [_sound(text, folder) for text in several]


def _sound(text: str, folder: pathlib.Path) -> str:
    return text if text.split("=")[0].strip() == OF_FILM else str(folder / text)


def _scalar(name: str, hint: Any, value: Any, is_table: bool) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind, expected = next((kind, expected) for kind, expected in _SCALARS if kind in kinds)
    if kind is pathlib.Path:
        return pathlib.Path(_path_text(name, value))
    if is_table and kind is not str:
        text = value.strip()
        value = _TRUTH.get(text.lower(), text) if kind is bool else _number(text, kind)
    is_right = isinstance(value, (int, float) if kind is float else kind)
    if not is_right or (kind is not bool and isinstance(value, bool)):
        raise _wrong(name, value, expected)
    return value


def _number(text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        return text


def _path_text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise _wrong(name, value, "a path")
    return value


def _object(name: str, value: Any, is_table: bool) -> Mapping[str, Any]:
    if is_table:
        try:
            value = json.loads(value)
        except ValueError:
            raise _wrong(name, value, "an object {…}") from None
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "an object {…}")
    return value


def _wrong(name: str, value: Any, expected: str) -> UserError:
    return UserError(f'"{name}" is {json.dumps(value)[:40]}; give {expected}')
