"""Casting: which voice speaks for which speaker of a script, settled before any work.

Names are compared without regard to case and spaces (text/speakers.py). Words of nobody that the script names
have the voice of `--voice`. Source: our choice.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dualdub_jax.config import GridConfig
from dualdub_jax.dubbing.window import Window
from dualdub_jax.errors import UserError
from dualdub_jax.media.voice import read_voice
from dualdub_jax.stores.path import as_local_path
from dualdub_jax.text.script import Script, listed
from dualdub_jax.text.speakers import distinct_names, name_key
from dualdub_jax.text.words import Word

NOBODY = ""  # the speaker of words for which the script names nobody
_OPTION = "--voices"
_EXAMPLE = '{"MARY": "mary.wav", "JOHN": "john.wav"}'
_MAX_BYTES = 1_000_000


def read_cast(voices: Mapping[str, Any] | pathlib.Path | str | None) -> dict[str, pathlib.Path]:
    """The files of the voices by name.

    Args:
        voices: by name, the path of a recording; or the path of a JSON file of the same, whose paths are
            relative to its own folder; None: nobody.

    Raises:
        UserError: the file is missing or no such object, a name is empty or given twice, or a value is no
            path.
    """
    if not isinstance(voices, Mapping | str | os.PathLike | None):
        raise UserError(f"voices is a {type(voices).__name__}; give recordings by name, {_EXAMPLE}")
    if not isinstance(voices, Mapping | None):
        path = as_local_path(voices, _OPTION)
        return _checked(f"{path}", _read_object(path), path.parent)
    return _checked(_OPTION, list((voices or {}).items()), pathlib.Path())


def _read_object(path: pathlib.Path) -> list[tuple[str, Any]]:
    """The pairs of a JSON object, repeated names included."""
    expected = f"give an object of names and recordings, {_EXAMPLE}"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise UserError(f"{path}: is larger than {_MAX_BYTES // 10**6} MB, no list of voices; {expected}")
        pairs = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_Pairs)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of voices; {expected}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {expected}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is no JSON file; {expected}, or write NAME={path}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no valid JSON ({error}); {expected}") from None
    if not isinstance(pairs, _Pairs):
        raise UserError(f"{path}: is a JSON {_KINDS.get(type(pairs), 'value')}, not an object; {expected}")
    return pairs


class _Pairs(list):
    """An object of JSON as it is written."""


_KINDS = {list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}


def _checked(source: str, pairs: Sequence[tuple[Any, Any]], folder: pathlib.Path) -> dict[str, pathlib.Path]:
    cast: dict[str, pathlib.Path] = {}
    seen: dict[str, str] = {}
    for name, value in pairs:
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{source}: a voice lacks its name; write NAME=FILE, or {_EXAMPLE} in JSON")
        is_path = isinstance(value, str | pathlib.Path) and str(value).strip() and "\0" not in str(value)
        if not is_path:
            kind = "object" if isinstance(value, _Pairs) else _KINDS.get(type(value), type(value).__name__)
            found = "empty" if isinstance(value, str) else f"a JSON {kind}"
            raise UserError(
                f"{source}: the voice of {name.strip()} is {found}; give the path of its recording, "
                f"{_EXAMPLE}"
            )
        name = " ".join(name.split())
        if (key := name_key(name)) in seen:
            raise UserError(
                f"{source}: {seen[key]} and {name} are one name, for case does not count; give it one voice"
            )
        seen[key] = name
        cast[name] = folder / as_local_path(value, source)
    return cast


def read_voices(
    voice: pathlib.Path | None, cast: Mapping[str, pathlib.Path], grid: GridConfig
) -> dict[str, np.ndarray | None]:
    """The recordings by name, float32[S] as `read_voice` returns them; that of `NOBODY` may be None.

    Raises:
        UserError: a recording cannot be used; names its file.
    """
    recordings = {name: read_voice(path, grid) for name, path in cast.items()}
    return {NOBODY: None if voice is None else read_voice(voice, grid), **recordings}


def check_cast(script: Script, cast: Mapping[str, pathlib.Path], has_voice: bool) -> list[str]:
    """Checks that all speakers of a script have a voice.

    Args:
        script: with the names that it gives.
        cast: by name, the voices; empty: one voice speaks all.
        has_voice: whether there is a voice for words of nobody.

    Returns:
        Warnings: one voice for several speakers, voices that nobody uses, words without a voice.

    Raises:
        UserError: speakers without a voice; names them and their cues.
    """
    names = distinct_names(word.speaker for word in script.words)
    if not cast:
        warning = (
            f"{script.source}: all speakers are given one voice: {listed(names)}; {_OPTION} gives each one"
        )
        warnings = [warning] if len(names) > 1 else []
        if has_voice and not script.words:
            warnings.append("--voice: is not used, for without a script nothing is spoken")
        return warnings
    known, used = set(map(name_key, cast)), set(map(name_key, names))
    if missing := [name for name in names if name_key(name) not in known]:
        raise UserError(
            f"{script.source}: no voice for {listed([name + _where(script, name) for name in missing])}; add "
            f"{missing[0]}=FILE to {_OPTION}, which has {listed(list(cast))}"
        )
    warnings = []
    if unused := [name for name in cast if name_key(name) not in used]:
        warnings.append(f"{_OPTION}: nobody in the script speaks with the voice of {listed(unused)}")
    is_needed = any(not word.speaker for word in script.words)
    if has_voice and not is_needed:
        warnings.append("--voice: is not used, for --voices has a voice for all words")
    if is_needed and not has_voice:
        warnings.append(
            f"{script.source}: words of nobody{_where(script, NOBODY)} have a voice that the model samples; "
            "name their speaker, or give --voice"
        )
    return warnings


def assign_voices(script: Script, cast: Mapping[str, pathlib.Path]) -> Script:
    """The script with the speakers' names as in the cast; all are `NOBODY` without one."""
    by_key = {name_key(name): name for name in cast}

    def assigned(words: Sequence[Word]) -> tuple[Word, ...]:
        return tuple(
            dataclasses.replace(word, speaker=by_key.get(name_key(word.speaker), NOBODY)) for word in words
        )

    cues = tuple(dataclasses.replace(cue, words=assigned(cue.words)) for cue in script.cues)
    return dataclasses.replace(script, words=assigned(script.words), cues=cues)


def spoken_by_others(windows: Sequence[Window], index: int) -> np.ndarray:
    """Which frames of a window's context another voice than its own speaks, bool[K]."""
    window = windows[index]
    frame = np.arange(window.first_frame, window.start_frame)
    is_other = np.zeros(len(frame), bool)
    for earlier in reversed(windows[:index]):
        if earlier.end_frame <= window.first_frame:
            break
        if earlier.speaker != window.speaker:
            is_other |= (frame >= earlier.start_frame) & (frame < earlier.end_frame)
    return is_other


def _where(script: Script, name: str) -> str:
    """The cues of a speaker: " (cues 2, 4)"; nothing in a script without times."""
    key = name_key(name)
    numbers = [
        str(cue.number) for cue in script.cues if any(name_key(word.speaker) == key for word in cue.words)
    ]
    return f" (cue{'s' * (len(numbers) > 1)} {listed(numbers)})" if numbers else ""
