"""Receipts and reports as visitors download them: with names of files, without the server's folders."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from dualdub_jax.apps.web.messages import without_folders


def name_files(
    receipt: pathlib.Path, report: pathlib.Path, names: Mapping[str, str], root: pathlib.Path
) -> None:
    """Rewrites both files.

    Args:
        receipt, report: of a finished film.
        names: of files that lie elsewhere, or under another name, by their paths.
        root: files in it are named without their folders.
    """

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(item) for key, item in value.items()}
        if isinstance(value, list):
            return [named(item) for item in value]
        if isinstance(value, str):
            return names.get(value) or without_folders(value, root)
        return value

    content = json.dumps(named(json.loads(receipt.read_text(encoding="utf-8"))), indent=2)
    receipt.write_text(content + "\n", encoding="utf-8")
    report.write_text(without_folders(report.read_text(encoding="utf-8"), root), encoding="utf-8")
