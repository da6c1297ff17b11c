"""Numbers as visitors type them."""

import math

from dualdub_jax.errors import UserError

_MAX_SEED = 2**31 - 1  # as of the command line


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


def read_seed(text: str | float | None) -> int | None:
    """A seed of the sampler; raises as `read_number`."""
    seed = read_whole_number(text, "Seed")
    if seed is not None and not 0 <= seed <= _MAX_SEED:
        raise UserError(f"“Seed” is {seed}: choose from 0 to {_MAX_SEED}")
    return seed
