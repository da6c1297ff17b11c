"""Metrics of a run: one JSONL file, TensorBoard, and a line or a progress bar on the terminal."""

import json
import pathlib
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter


class MetricWriter:
    """Appends to `workdir/metrics.jsonl` and `workdir/tensorboard/`."""

    def __init__(self, workdir: pathlib.Path):
        workdir.mkdir(parents=True, exist_ok=True)
        self._file = (workdir / "metrics.jsonl").open("a", encoding="utf-8")
        self._tensorboard = SummaryWriter(str(workdir / "tensorboard"))

    def write(self, phase: str, step: int, metrics: dict[str, float]) -> None:
        """One line, `{"phase", "step", …}`, and one point a metric."""
        line = {"phase": phase, "step": step, "time": round(time.time(), 3), **metrics}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._tensorboard.add_scalar(f"{phase}/{name}", value, step)

    def close(self) -> None:
        self._file.close()
        self._tensorboard.close()


class TrainingProgress:
    """A progress bar with loss, clips/s and time left on a terminal; plain lines elsewhere."""

    def __init__(self, phase: str, num_steps: int, first_step: int):
        self._phase, self._num_steps = phase, num_steps
        self._first_step, self._start = first_step, time.monotonic()
        console = Console(file=sys.stdout)
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task(phase, total=num_steps, completed=first_step, status="compiling")
            self._bar.start()

    def advance(self, step: int) -> None:
        if self._bar:
            self._bar.update(self._task, completed=step)

    def report(self, step: int, metrics: dict[str, Any]) -> None:
        """Shows the latest metrics; `clips_per_s` is among them."""
        if self._bar:
            self._bar.update(
                self._task, status=f"loss {metrics['loss']:.4f}  {metrics['clips_per_s']:.1f} clips/s"
            )
            return
        spent = time.monotonic() - self._start
        left = spent / max(step - self._first_step, 1) * (self._num_steps - step)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        print(f"{self._phase} {step}/{self._num_steps}  {shown}  {left / 60:.1f} min left", flush=True)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()
