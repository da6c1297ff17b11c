"""Graceful stop on SIGTERM (preemption) and Ctrl-C: after the current step, with a checkpoint."""

import os
import signal
from typing import Any

_NOTICE = b"dualdub: stopping after this step, with a checkpoint; Ctrl-C again stops at once\n"


class TrainingStoppedError(Exception):
    """The run has stopped on SIGTERM or Ctrl-C and saved its state."""


class StopSignals:
    """Once it listens, SIGTERM or SIGINT requests a stop after the step; a second SIGINT interrupts at once.

    A context manager; leaving it restores the handlers.

    Attributes:
        requested: whether this process has received a signal.
        is_agreed: set by the loop once all processes know of the request.
    """

    def __init__(self) -> None:
        self.requested = False
        self.is_agreed = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        return self

    def listen(self) -> None:
        """Begins to handle signals; before, there is nothing to save and they interrupt at once."""
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous.setdefault(number, signal.signal(number, self._handle))
        except ValueError:
            # Not the main thread (a notebook server, a test runner): signal handlers are not changed.
            self._previous = {}

    def _handle(self, number: int, frame: Any) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            os.write(2, _NOTICE)  # `print` is not reentrant
        self.requested = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
