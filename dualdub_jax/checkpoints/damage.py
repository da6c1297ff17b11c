"""Naming a file that libraries cannot read, whatever they raise."""

import contextlib
from collections.abc import Iterator

import jax

from dualdub_jax.errors import UserError


@contextlib.contextmanager
def damage_named(what: str, advice: str) -> Iterator[None]:
    """Any error inside becomes a `UserError` that names what was read, but for errors of the devices.

    Args:
        what: such as "runs/a/model/100: this checkpoint".
        advice: what to do about it.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError:  # such as too little memory
        raise
    except Exception as error:  # whatever damaged bytes make the libraries raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{what} cannot be read ({reason}); {advice}") from error
