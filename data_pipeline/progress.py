"""Progress of long data work: a bar on a terminal, a plain line every 15 s elsewhere."""

import time
from typing import Self

import rich.console
import rich.progress

_PLAIN_EVERY_S = 15.0


class Progress:
    """Counts finished items; a context manager.

    Args:
        console: where to report.
        label: what is being made.
        total: how many items there are.
        unit: what they are, in the plural.
    """

    def __init__(self, console: rich.console.Console, label: str, total: int, unit: str) -> None:
        self._console, self._label, self._total, self._unit = console, label, total, unit
        self._done, self._start_s, self._last_s = 0, time.monotonic(), time.monotonic()
        self._bar: rich.progress.Progress | None = None
        if console.is_terminal:
            self._bar = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                rich.progress.TimeElapsedColumn(),
                rich.progress.TimeRemainingColumn(),
                console=console,
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=self._total)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None:
            self._report(f"done in {time.monotonic() - self._start_s:.0f} s")

    def advance(self, count: int = 1) -> None:
        """Counts `count` more items as done."""
        self._done += count
        now_s = time.monotonic()
        if self._bar is not None:
            self._bar.advance(self._task, count)
        elif now_s - self._last_s > _PLAIN_EVERY_S:
            self._last_s = now_s
            left_s = (now_s - self._start_s) / self._done * (self._total - self._done)
            self._report(f"about {left_s:.0f} s left")

    def note(self, text: str) -> None:
        """Prints one line, above the bar where there is one."""
        console = self._console if self._bar is None else self._bar.console
        console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)

    def _report(self, text: str) -> None:
        self.note(f"{self._label}: {self._done}/{self._total} {self._unit}, {text}")
