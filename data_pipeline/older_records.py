"""Datasets of earlier schemas, read as records of the present one.

Before `duration_s`, a record had `num_frames` on a grid of 25 frames a second, stems at 16 kHz, and neither
precomputed features nor a licence. Such a dataset is adapted where it is opened, so every reader sees
`record.RECORD` alone.
"""

from collections.abc import Sequence
from typing import Any

from dualdub_jax.data_pipeline.record import RECORD, Record

_FRAME_RATE_HZ = 25
# Fields that later schemas added, with the value that means "absent".
_ABSENT: dict[str, Any] = {"video_features": b"", "video_features_rate_hz": 0.0, "licence": b""}


def missing_fields(names: set[str]) -> list[str]:
    """Fields of the present schema that neither a dataset with the features `names` has nor we can supply."""
    supplied = set(_ABSENT) | ({"duration_s"} if "num_frames" in names else set())
    return sorted(set(RECORD) - names - supplied)


def adapt(records: Sequence[Record], names: set[str]) -> Sequence[Record]:
    """Records of a dataset with the features `names`, as records of the present schema."""
    return records if names == set(RECORD) else _Adapted(records)


class _Adapted(Sequence):
    """Random access to adapted records; safe to send to processes."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        return _present(self._records[index])


def _present(old: Record) -> Record:
    new = {name: old[name] if name in old else _ABSENT.get(name) for name in RECORD}
    if new["duration_s"] is None:
        new["duration_s"] = float(old["num_frames"]) / _FRAME_RATE_HZ
    return new
