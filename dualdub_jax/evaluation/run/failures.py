"""Failures of single clips: one line for the report, the traceback for a log."""

import pathlib
import traceback

from dualdub_jax.evaluation.run.scoring import describe_error
from dualdub_jax.evaluation.run.stem_store import writing


class FailureLog:
    """Collects the failures of a run.

    Attributes:
        path: of the log; created at the first failure, overwritten in each run.
        entries: "failures" of the results.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.entries: list[dict[str, str]] = []

    def add(self, clip_id: str, system: str, stage: str, error: Exception) -> None:
        """Records a failure.

        Args:
            clip_id: of the clip; "" for a figure over all clips.
            system: of the soundtrack; "" if all systems are affected.
            stage: that failed, see `results`.
            error: the exception.

        Raises:
            WorkdirError: the log cannot be written.
        """
        entry = {"id": clip_id, "system": system, "stage": stage, "error": describe_error(error)}
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a" if self.entries else "w", encoding="utf-8") as file:
                file.write(f"{clip_id} {system} {stage}\n{''.join(traceback.format_exception(error))}\n")
        self.entries.append(entry)
