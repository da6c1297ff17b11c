"""Self-contained HTML pages: templates of `assets/` with one shared style sheet."""

import html
import importlib.resources
import string
from collections.abc import Iterable, Mapping


def fill_page(template: str, fields: Mapping[str, str]) -> str:
    """Fills a template of `assets/`; its `$style` becomes the shared style sheet.

    Args:
        template: file name.
        fields: HTML of each placeholder; plain text must be escaped already.

    Raises:
        KeyError: a placeholder without a field.
    """
    return string.Template(_read_asset(template)).substitute(fields, style=style_sheet())


def style_sheet() -> str:
    """The CSS that all pages share."""
    return _read_asset("page.css")


def two_column_rows(rows: Iterable[tuple[str, str]]) -> str:
    """Table rows of names and values, both plain text."""
    return "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in rows)


def _read_asset(name: str) -> str:
    return importlib.resources.files("dualdub_jax").joinpath("assets", name).read_text(encoding="utf-8")
