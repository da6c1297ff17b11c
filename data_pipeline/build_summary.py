"""What a build has kept and dropped, in its metadata, in `failures.jsonl` and in one printed line."""

import collections
import dataclasses
import json
from typing import Any

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.builders.base import Dropped
from dualdub_jax.data_pipeline.record import Record

FAILURES_FILE = "failures.jsonl"


class BuildSummary:
    """Counts records and what was dropped, while a dataset is written."""

    def __init__(self) -> None:
        self._numbers: collections.Counter[str] = collections.Counter()
        self._dropped: collections.Counter[str] = collections.Counter()
        self._seconds: collections.Counter[str] = collections.Counter()
        self._speakers: set[str] = set()
        self._failures: list[Dropped] = []

    def keep(self, found: Record) -> None:
        """Counts a record."""
        self._numbers["clips"] += 1
        self._seconds[record.text(found["licence"])] += float(found["duration_s"])
        speech = record.events(found).get("speech") or {}
        if speech.get("voice_id") is not None:
            self._speakers.add(str(speech["voice_id"]))

    def drop(self, found: Dropped) -> None:
        """Counts what gave no record."""
        self._dropped[found.reason] += 1
        self._failures.append(found)

    @property
    def dropped(self) -> dict[str, int]:
        """Reason -> number of clips, or of items."""
        return dict(self._dropped)

    @property
    def figures(self) -> dict[str, Any]:
        """`clips`, `hours`, `speakers`, `hours_by_licence` ("unknown" for none), `kept`, `dropped`."""
        return {
            "clips": self._numbers["clips"],
            "hours": _hours(sum(self._seconds.values())),
            "speakers": len(self._speakers),
            "hours_by_licence": {
                licence or "unknown": _hours(seconds) for licence, seconds in sorted(self._seconds.items())
            },
            "kept": self._numbers["clips"],
            "dropped": sum(self._dropped.values()),
        }

    def failure_lines(self) -> str:
        """A JSON line for each that was dropped: id, stage, reason, detail."""
        lines = []
        for found in self._failures:
            fields = dataclasses.asdict(found)
            lines.append(json.dumps({"id": fields.pop("source"), **fields}, ensure_ascii=False))
        return "".join(f"{line}\n" for line in lines)

    def sentence(self) -> str:
        """For the end of a build."""
        figures = self.figures
        licences = ", ".join(f"{name} {hours:g} h" for name, hours in figures["hours_by_licence"].items())
        return (
            f"kept {figures['kept']} clips, {figures['hours']:g} h, {figures['speakers']} speakers; "
            f"licences: {licences or 'none'}; dropped {figures['dropped']}"
        )


def _hours(seconds: float) -> float:
    return round(seconds / 3600, 4)
