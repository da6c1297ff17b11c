"""Types and help that options of several commands share."""

import argparse
import math

ALLOW_CODE_HELP = "import the classes that the checkpoint's config names, which runs their code"


def seed(text: str) -> int:
    return number(text, int, 0, 2**31 - 1)


def count(text: str) -> int:
    return number(text, int, 1, 2**31 - 1)


def names(text: str) -> list[str]:
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("expected names with commas between them")
    return found


def number(text: str, kind: type, low: float, high: float) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        what = "a whole number" if kind is int else "a number"
        limits = f"from {low} to {high}" if high < math.inf else f"of at least {low}"
        raise argparse.ArgumentTypeError(f"expected {what} {limits}, got {text!r}")
    return value
