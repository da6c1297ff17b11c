"""Converts errors of libraries on damaged files to errors that name the file."""

import contextlib
from collections.abc import Iterator

import jax

from dualdub_jax.errors import UserError


@contextlib.contextmanager
def damage_named(what: str, advice: str) -> Iterator[None]:
    """Raises any error of the body as a `UserError` that names the input; device and user errors pass
    through.

    Args:
        what: the input, such as "runs/a/model/100: this checkpoint".
        advice: the remedy.

    Raises:
        UserError: the body raised an error other than `JaxRuntimeError`.
    """
    try:
        yield
    except (UserError, jax.errors.JaxRuntimeError):  # the latter such as out of memory
        raise
    except Exception as error:  # libraries raise many types on damaged bytes
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{what} cannot be read ({reason}); {advice}") from error
