"""Names of shards as a shell has them, such as "shards/{000..099}.tar" or "*/part-?.tar"."""

import pathlib
import re

from dualdub_jax.stores.path import StorePath, as_path

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_WILDCARDS = "*?["


def find_shards(text: str) -> list[StorePath]:
    """The files that a name means, in order; names of single files are given back also if there is none.

    A name that exists is meant as it is, whatever brackets and braces it has. Of a folder, all `.tar` files
    in it are meant.

    Raises:
        UserError: a URL that `as_path` refuses.
    """
    found = []
    for name in [text] if _is_there(text) else expand_braces(text):
        for path in _matches(name):
            is_folder = not path.name.endswith(".tar") and path.is_dir()
            found += sorted(path.glob("*.tar"), key=str) if is_folder else [path]
    return found


def expand_braces(text: str) -> list[str]:
    """ "{000..002}" and "{a,b}" as a shell expands them, from left to right; other braces are letters."""
    for match in _BRACES.finditer(text):
        between = _RANGE.fullmatch(match[1])
        if between:
            first, last = int(between[1]), int(between[2])
            width = len(between[1]) if between[1].startswith("0") else 0
            step = 1 if last >= first else -1
            choices = [f"{number:0{width}d}" for number in range(first, last + step, step)]
        elif "," in match[1]:
            choices = match[1].split(",")
        else:
            continue
        head, rests = text[: match.start()], expand_braces(text[match.end() :])
        return [f"{head}{choice}{rest}" for choice in choices for rest in rests]
    return [text]


def _is_there(text: str) -> bool:
    return "://" not in text and pathlib.Path(text).exists()


def _matches(name: str) -> list[StorePath]:
    """Paths that a name with wildcards means, folder by folder; on a store, `as_path` refuses wildcards."""
    if "://" in name or not any(letter in name for letter in _WILDCARDS):
        return [as_path(name)]
    path = pathlib.Path(name)
    found = [pathlib.Path(path.anchor)]
    for part in path.parts[len(path.anchor) :]:
        found = [match for folder in found for match in _in_folder(folder, part)]
    return found


def _in_folder(folder: pathlib.Path, part: str) -> list[pathlib.Path]:
    is_pattern = any(letter in part for letter in _WILDCARDS) and not (folder / part).exists()
    return sorted(folder.glob(part), key=str) if is_pattern else [folder / part]
