"""Reads JSON Lines files; errors name the line."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from dualdub_jax.errors import UserError


def read_json_lines(path: pathlib.Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Reads a file with one JSON object a line.

    Args:
        path: UTF-8 text.

    Yields:
        (line number from 1, object); empty lines are skipped.

    Raises:
        UserError: the file cannot be read or has no object, a line is not a JSON object, or an "id" is
            missing, not a string or a duplicate.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path}: is a pipe or a device; save it as a file with one JSON object a line")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UserError(
            f"{path}: cannot be read ({reason}); give a file with one JSON object a line"
        ) from None
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error.msg}); correct the line") from None
        if not isinstance(item, dict):
            raise UserError(f"{path}, line {number}: expected an object {{…}}, got {line.strip()[:40]}")
        if not isinstance(item.get("id"), str) or not item["id"]:
            raise UserError(f'{path}, line {number}: has no "id"; give each line a unique one')
        if item["id"] in seen:
            raise UserError(
                f"{path}, line {number}: id {item['id']!r} duplicates that of line {seen[item['id']]}; "
                "give each line a unique one"
            )
        seen[item["id"]] = number
        yield number, item
    if not seen:
        raise UserError(f"{path}: holds no clip; give a file with one JSON object a line")
