"""Self-contained HTML pages: templates of `assets/` with one shared style sheet."""

import html
import importlib.resources
import string
from collections.abc import Iterable, Mapping


def fill_page(template: str, fields: Mapping[str, str]) -> str:
    """Fills a template of `assets/`; its `$style` becomes the shared style sheet.

    Args:
        template: file name.
        fields: HTML of each placeholder: whoever fills it has escaped what is text.

    Raises:
        KeyError: a placeholder without a field.
    """
    assets = importlib.resources.files("dualdub_jax").joinpath("assets")
    style = assets.joinpath("page.css").read_text(encoding="utf-8")
    page = string.Template(assets.joinpath(template).read_text(encoding="utf-8"))
    return page.substitute(fields, style=style)


def two_column_rows(rows: Iterable[tuple[str, str]]) -> str:
    """Table rows of names and values, both plain text."""
    return "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in rows)
