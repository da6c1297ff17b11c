"""Failures of single clips: one line for the report, the traceback for a log."""

import dataclasses
import pathlib
import traceback

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.run.stem_store import writing


@dataclasses.dataclass(frozen=True)
class Failure:
    """An exception in words, which other processes can send where some exceptions cannot be pickled.

    Attributes:
        text: one line for the report; a `UserError` is shown without the exception's name.
        trace: for the log.
    """

    text: str
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Describes an exception."""
        text = " ".join(str(error).split())
        if not isinstance(error, UserError):
            text = f"{type(error).__name__}: {text}"
        return cls(text, "".join(traceback.format_exception(error)))


class FailureLog:
    """Collects the failures of a run.

    Attributes:
        path: of the log; created at the first failure, overwritten in each run.
        entries: "failures" of the results.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.entries: list[dict[str, str]] = []

    def add(self, clip_id: str, system: str, stage: str, error: Exception | Failure) -> None:
        """Records a failure.

        Args:
            clip_id: of the clip; "" for a figure over all clips.
            system: of the soundtrack; "" if all systems are affected.
            stage: that failed, see `results`.
            error: the exception, or its description.

        Raises:
            WorkdirError: the log cannot be written.
        """
        failure = error if isinstance(error, Failure) else Failure.of(error)
        entry = {"id": clip_id, "system": system, "stage": stage, "error": failure.text}
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a" if self.entries else "w", encoding="utf-8") as file:
                file.write(f"{clip_id} {system} {stage}\n{failure.trace}\n")
        self.entries.append(entry)
