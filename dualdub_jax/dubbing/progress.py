"""Progress of long work: how far a step is, and how long each step took."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import rich.console
import rich.progress

_LINE_EVERY_S = 60.0
Advance = Callable[[float], None]  # called with the part that is done, 0 to 1


class Progress:
    """Measures steps in silence; the default of the Python API.

    Attributes:
        seconds: how long each step took, in the order in which they began.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Advance]:
        """Measures the time spent inside; a repeated name adds to its time."""
        start = time.perf_counter()
        with self._shown(name) as advance:
            yield advance
        elapsed = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        self._finished(name, elapsed)

    @contextlib.contextmanager
    def _shown(self, name: str) -> Iterator[Advance]:
        yield lambda fraction: None

    def _finished(self, name: str, elapsed_s: float) -> None:
        pass


class PlainProgress(Progress):
    """One line per finished step, and one a minute during a long one, for logs and pipes."""

    def __init__(self, file: TextIO | None = None) -> None:
        super().__init__()
        self._file = file or sys.stdout

    @contextlib.contextmanager
    def _shown(self, name: str) -> Iterator[Advance]:
        printed_s = time.monotonic()

        def advance(fraction: float) -> None:
            nonlocal printed_s
            if time.monotonic() - printed_s >= _LINE_EVERY_S and fraction < 1:
                printed_s = time.monotonic()
                print(f"{name:<18} {fraction:6.0%}", file=self._file, flush=True)

        yield advance

    def _finished(self, name: str, elapsed_s: float) -> None:
        print(f"{name:<18} {elapsed_s:6.2f} s", file=self._file, flush=True)


class TerminalProgress(PlainProgress):
    """A bar while a step runs, then one line."""

    @contextlib.contextmanager
    def _shown(self, name: str) -> Iterator[Advance]:
        bar = rich.progress.Progress(
            rich.progress.SpinnerColumn(),
            rich.progress.TextColumn("{task.description:<16}"),
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TimeElapsedColumn(),
            console=rich.console.Console(file=self._file),
            transient=True,
        )
        with bar:
            task = bar.add_task(name, total=None)
            yield lambda fraction: bar.update(task, total=1.0, completed=fraction)


def make_progress() -> Progress:
    """Bars on a terminal, plain lines elsewhere."""
    return TerminalProgress() if sys.stdout.isatty() else PlainProgress()
