"""Graceful stop on SIGTERM (preemption) and Ctrl-C: after the current step, with a checkpoint."""

import signal
from typing import Any


class TrainingStoppedError(Exception):
    """The run has stopped on SIGTERM or Ctrl-C and saved its state."""


class StopSignals:
    """While active, SIGTERM or SIGINT requests a stop after the step; a second SIGINT interrupts at once.

    Attributes:
        requested: whether this process has received a signal.
        is_agreed: set by the loop once all processes know of the request.
    """

    def __init__(self) -> None:
        self.requested = False
        self.is_agreed = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        except ValueError:
            # Not the main thread (a notebook server, a test runner): signal handlers are not changed.
            self._previous = {}
        return self

    def _handle(self, number: int, frame: Any) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
