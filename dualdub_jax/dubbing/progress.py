"""Progress of long work: how far a step is, how long it will still take, and how long each step took."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import rich.console
import rich.progress

_LINE_EVERY_S = 60.0
_PACE_OVER_S = 600.0  # of a bar: windows of a large model take minutes
Advance = Callable[[float], None]  # called with the part that is done, 0 to 1


class Progress:
    """Measures steps in silence; the default of the Python API.

    Attributes:
        seconds: how long each step took, in the order in which they began.
        waited_s: of the time so far, seconds in which others worked; they are not part of the step.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.waited_s = 0.0

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Advance]:
        """Measures the time spent inside; a repeated name adds to its time."""
        start = time.perf_counter() - self.waited_s
        with self._shown(name) as advance:
            yield advance
        elapsed = time.perf_counter() - self.waited_s - start
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
        first: tuple[float, float] | None = None  # time and part of the first call, before which is no pace

        def advance(fraction: float) -> None:
            nonlocal printed_s, first
            now_s = time.monotonic()
            first = first or (now_s, fraction)
            if now_s - printed_s >= _LINE_EVERY_S and fraction < 1:
                printed_s = now_s
                left = ""
                if fraction > first[1]:
                    left_s = (now_s - first[0]) * (1 - fraction) / (fraction - first[1])
                    left = f", about {time_left(left_s)} left"
                print(f"{name:<18} {fraction:6.0%}{left}", file=self._file, flush=True)

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
            rich.progress.TimeRemainingColumn(),
            console=rich.console.Console(file=self._file),
            speed_estimate_period=_PACE_OVER_S,
            transient=True,
        )
        with bar:
            task = bar.add_task(name, total=None)
            yield lambda fraction: bar.update(task, total=1.0, completed=fraction)


def time_left(seconds: float) -> str:
    """A duration in words, such as "4 min" or "2 h 10 min"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def make_progress() -> Progress:
    """Bars on a terminal, plain lines elsewhere."""
    return TerminalProgress() if sys.stdout.isatty() else PlainProgress()
