"""Collects user errors, so that all are reported at once."""

import contextlib
from collections.abc import Iterator

from dualdub_jax.errors import UserError, UserErrors


class Problems:
    """What is wrong with a run.

    Attributes:
        messages: in the order found, each once.
    """

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        """Notes a problem."""
        if message not in self.messages:
            self.messages.append(message)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Notes the `UserError` of the enclosed block, which ends there."""
        try:
            yield
        except UserErrors as errors:
            for message in errors.messages:
                self.add(message)
        except UserError as error:
            self.add(str(error))
