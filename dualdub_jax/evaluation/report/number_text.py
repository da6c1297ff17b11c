"""Formats numbers and names for the report."""

import html
import math
from collections.abc import Callable

NONE_SHOWN = "\N{EN DASH}"  # for an undefined number
# Direction of improvement -> symbol and description.
WAYS = {
    "higher": ("\N{UPWARDS ARROW}", "higher is better"),
    "lower": ("\N{DOWNWARDS ARROW}", "lower is better"),
    "neither": ("", "descriptive"),
}


def in_unit(value: float | None, unit: str) -> float | None:
    """A figure's number in its unit: the results store 12% as 0.12."""
    return 100.0 * value if value is not None and unit == "%" else value


def number(value: float | None) -> str:
    """A number with three or four significant digits, as `number` in `assets/evaluation.html` formats it."""
    if value is None or not math.isfinite(value):
        return NONE_SHOWN
    size = abs(value)
    if size == int(size) and size < 1e6:
        return str(int(value))
    if size < 0.0001:
        return f"{value:.0e}"
    decimals = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 0.01 else 4
    return f"{value:.{decimals}f}"


def signed(value: float | None) -> str:
    """A difference with its sign, also if positive."""
    return f"+{number(value)}" if value is not None and value > 0 else number(value)


def interval(low: float | None, high: float | None, text: Callable[[float | None], str] = number) -> str:
    """An interval, formatted by `text`; a dash without one."""
    return NONE_SHOWN if low is None or high is None else f"{text(low)} to {text(high)}"


def breakable(name: str) -> str:
    """HTML of a name with optional line breaks after its underscores."""
    return html.escape(name).replace("_", "_<wbr>")
