"""Stopping on SIGTERM (preemption) and Ctrl-C: after a step and a checkpoint."""

import signal
from typing import Any


class TrainingStoppedError(Exception):
    """The run was asked to stop (SIGTERM or Ctrl-C) and has saved its state."""


class StopSignals:
    """While active, SIGTERM or SIGINT asks for a stop after the step; a second SIGINT breaks off.

    Attributes:
        requested: this process has been asked.
        is_agreed: set by the loop: every process knows that one of them has been asked.
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
            # Not the main thread (a notebook server, a test runner): signals stay as they are.
            self._previous = {}
        return self

    def _handle(self, number: int, frame: Any) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
