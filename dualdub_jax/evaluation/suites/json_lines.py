"""Reading lists with one JSON object a line, with errors that name the line."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from dualdub_jax.errors import UserError


def read_json_lines(path: pathlib.Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number, object); empty lines are skipped.

    Raises:
        UserError: the file cannot be read, or a line is not a JSON object, or an "id" is missing, not a text
            or there twice.
    """
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
            raise UserError(f"{path}, line {number}: not JSON ({error.msg}); mend the line") from None
        if not isinstance(item, dict):
            raise UserError(f"{path}, line {number}: expected an object {{…}}, got {line.strip()[:40]}")
        if not isinstance(item.get("id"), str) or not item["id"]:
            raise UserError(f'{path}, line {number}: has no "id"; give each line a name of its own')
        if item["id"] in seen:
            raise UserError(
                f"{path}, line {number}: id {item['id']!r} is that of line {seen[item['id']]} too; "
                "give each line a name of its own"
            )
        seen[item["id"]] = number
        yield number, item
    if not seen:
        raise UserError(f"{path}: no clip in it; give a file with one JSON object a line")
