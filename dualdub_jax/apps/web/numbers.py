"""Numbers as visitors type them."""

import math

from dualdub_jax.errors import UserError


def read_number(text: str | float | None, label: str) -> float | None:
    """A number; None for an empty field.

    Args:
        text: as typed; a comma may stand for the point.
        label: of the field, for the message.

    Raises:
        UserError: it is none.
    """
    if text is None or not str(text).strip():
        return None
    try:
        value = float(str(text).strip().replace(",", ".").replace("\u2212", "-"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"“{label}”: expected a number, got {str(text)[:40]!r}")
    return value


def read_whole_number(text: str | float | None, label: str) -> int | None:
    """Likewise, without a fraction."""
    value = read_number(text, label)
    if value is not None and value != int(value):
        raise UserError(f"“{label}”: expected a whole number, got {value:g}")
    return None if value is None else int(value)
