"""Types, help and options that several commands share."""

import argparse
import functools
import math
from collections.abc import Callable

from dualdub_jax.stores.argument import stored

ALLOW_CODE_HELP = "import the classes that the checkpoint's config names, which runs their code"


_CONFIG_HELP = "one of the project's configs, such as puppet, or a Python file with get_config()"
_OVERRIDE_HELP = "change a value of the config; may be repeated"


def add_model(parser: argparse.ArgumentParser) -> None:
    """Options that choose the model."""
    parser.add_argument(
        "--checkpoint", type=stored, metavar="DIR", help="the model (default: the bundled one)"
    )
    parser.add_argument("--allow-code", action="store_true", help=ALLOW_CODE_HELP)


def add_config(parser: argparse.ArgumentParser) -> None:
    """The options of a command that needs a config."""
    parser.add_argument("--config", required=True, metavar="NAME|FILE", help=_CONFIG_HELP)
    add_overrides(parser, _OVERRIDE_HELP)


def add_overrides(parser: argparse.ArgumentParser, text: str) -> None:
    """Shows `--config.KEY=VALUE` in the help; the values are what the parser does not know."""
    parser.add_argument(
        "--config.KEY=VALUE", dest="overrides", action="store_const", const=(), default=(), help=text
    )


def _number(kind: type, low: float, high: float, text: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        what = "a whole number" if kind is int else "a number"
        limits = f" from {low} to {high}" if high < math.inf else f" of at least {low}"
        limits = "" if low == -math.inf else limits
        raise argparse.ArgumentTypeError(f"expected {what}{limits}, got {text!r}")
    return value


def within(kind: type, low: float, high: float) -> Callable[[str], float]:
    """The type of an option that is a number from `low` to `high`."""
    return functools.partial(_number, kind, low, high)


seed = within(int, 0, 2**31 - 1)
count = within(int, 1, 2**31 - 1)
real = within(float, -math.inf, math.inf)  # its range is checked with the request


def names(text: str) -> list[str]:
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("expected names with commas between them")
    return found
