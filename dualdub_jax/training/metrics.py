"""Metrics of a run: JSON Lines files, TensorBoard, and a progress bar or plain lines on the terminal.

With several processes, process 0 writes; metrics are equal in all processes. On an object store, files are
appended locally and uploaded with each checkpoint, once a minute and at the end.
"""

import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from dualdub_jax.parallel import distributed
from dualdub_jax.stores.appended_file import AppendedFile
from dualdub_jax.stores.commit import upload_file
from dualdub_jax.stores.path import StorePath, is_remote

_UPLOAD_EVERY_S = 60


class MetricWriter:
    """Appends to `workdir/metrics.jsonl`, `workdir/events.jsonl` and `workdir/tensorboard/`."""

    def __init__(self, workdir: StorePath):
        self._files: dict[str, AppendedFile] = {}
        self._tensorboard: SummaryWriter | None = None
        # Of TensorBoard's files, if they are uploaded.
        self._staging: tempfile.TemporaryDirectory | None = None
        self._workdir, self._uploaded_s = workdir, time.monotonic()
        if distributed.is_first():
            if is_remote(workdir):
                self._staging = tempfile.TemporaryDirectory(prefix="dualdub-")
            else:
                workdir.mkdir(parents=True, exist_ok=True)
            for name in ("metrics", "events"):
                self._files[name] = AppendedFile(workdir / f"{name}.jsonl")
            self._tensorboard = SummaryWriter(
                self._staging.name if self._staging else str(workdir / "tensorboard")
            )

    def write(self, phase: str, step: int, metrics: dict[str, float]) -> None:
        """Writes one line, `{"phase", "step", …}`, and one TensorBoard point per metric."""
        self._append("metrics", {"phase": phase, "step": step, **metrics})
        for name, value in metrics.items() if self._tensorboard else ():
            self._tensorboard.add_scalar(f"{phase}/{name}", value, step)
        if time.monotonic() - self._uploaded_s > _UPLOAD_EVERY_S:
            self.upload()

    def event(self, phase: str, step: int, kind: str, **details: Any) -> None:
        """Logs an event, such as a skipped step, to the file and on the terminal."""
        self._append("events", {"phase": phase, "step": step, "event": kind, **details})
        if self._files:
            shown = "  ".join(f"{name} {value}" for name, value in details.items())
            print(f"{phase} {step}: {kind}  {shown}", flush=True)

    def _append(self, file: str, line: dict[str, Any]) -> None:
        if self._files:
            line = {**line, "time": round(time.time(), 3)}
            self._files[file].write(json.dumps(line))

    def upload(self) -> None:
        """Uploads what was written, if the files are on an object store.

        Raises:
            UserError: the store fails.
        """
        self._uploaded_s = time.monotonic()
        if self._staging:
            for file in self._files.values():
                file.flush()
            self._tensorboard.flush()
            for path in pathlib.Path(self._staging.name).iterdir():
                upload_file(path, self._workdir / "tensorboard" / path.name)

    def close(self) -> None:
        """Uploads what was written, and closes the files; raises as `upload`."""
        try:
            self.upload()
        finally:
            for file in self._files.values():
                file.close()
            if self._tensorboard:
                self._tensorboard.close()
            if self._staging:
                self._staging.cleanup()


def read_events(workdir: StorePath, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Lines of `workdir/events.jsonl` of some kinds; empty without the file."""
    path = workdir / "events.jsonl"
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # a line in the writing has no end
    return [event for event in map(json.loads, lines) if event["event"] in kinds]


class TrainingProgress:
    """A progress bar with loss, clips/s and remaining time on a terminal; plain lines elsewhere."""

    def __init__(self, phase: str, num_steps: int, first_step: int):
        self._phase, self._num_steps = phase, num_steps
        self._first_step, self._start = first_step, time.monotonic()
        self._is_shown = distributed.is_first()
        self._held_out: float | None = None  # the newest
        console = Console(file=sys.stdout)
        self._bar: Progress | None = None
        if console.is_terminal and self._is_shown:
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
        """Moves the bar to `step` completed steps."""
        if self._bar:
            self._bar.update(self._task, completed=step)

    def report(self, step: int, metrics: dict[str, Any]) -> None:
        """Shows the latest metrics, which include `clips_per_s`."""
        if self._bar:
            self._held_out = metrics.get("eval/loss", self._held_out)
            held_out = "" if self._held_out is None else f"  held-out {self._held_out:.4f}"
            padding = f"  padding {metrics['padding']:.0%}" if "padding" in metrics else ""
            status = f"loss {metrics['loss']:.4f}{held_out}  {metrics['clips_per_s']:.1f} clips/s{padding}"
            self._bar.update(self._task, status=status)
            return
        if not self._is_shown:
            return
        spent = time.monotonic() - self._start
        left = spent / max(step - self._first_step, 1) * (self._num_steps - step)
        # Held-out metrics of single tasks are in the file.
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name.count("/") < 2)
        print(f"{self._phase} {step}/{self._num_steps}  {shown}  {left / 60:.1f} min left", flush=True)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()


def to_floats(metrics: dict[str, jax.Array]) -> dict[str, float]:
    """Transfers scalars to the host; blocks until their step is complete."""
    return {name: float(value) for name, value in metrics.items()}
