"""Bad records are replaced by others of their dataset, so that no position in the data depends on them.

The replacement is drawn with the generator of the example that it stands in for: batch k remains a function
of config, stage, seed and data, on any number of threads, workers and processes. Each example reports what it
replaced; the training loop counts and limits it (`training/bad_records.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import grain
import numpy as np

from dualdub_jax.data_pipeline.record import Record, clip_id
from dualdub_jax.errors import UserError
from dualdub_jax.training.bad_records import BadRecord

Example = dict[str, Any]
_MAX_DRAWS = 100


class PassOverError(Exception):
    """The record is valid, but does not hold what this example is to show; the text says what it lacks."""


class Transform(Protocol):
    """From record to example."""

    def begin(self, rng: np.random.Generator) -> Callable[[Record], Example]:
        """Starts an example, whose random decisions are drawn from `rng`.

        Returns:
            A function from a record to the example. It raises `UserError` for a record that cannot be used,
            and `PassOverError` for one that lacks content; it is then called with another record.
        """
        ...


class ReplaceBad(grain.transforms.RandomMap):
    """Index to example, with "bad_records", the list of `BadRecord` that were drawn before a usable one.

    Args:
        name: of the dataset.
        records: of the dataset.
        transform: of its records.
        is_strict: a bad record is an error and not replaced, for passes in which every record counts once.
        substitutes: int[N], indices of the records that replace bad ones; None: all.
    """

    def __init__(
        self,
        name: str,
        records: Sequence[Record],
        transform: Transform,
        is_strict: bool = False,
        substitutes: np.ndarray | None = None,
    ) -> None:
        self._name, self._records, self._substitutes = name, records, substitutes
        self._transform, self._is_strict = transform, is_strict

    def random_map(self, index: int, rng: np.random.Generator) -> Example:
        make = self._transform.begin(rng)
        bad: list[BadRecord] = []
        for _ in range(_MAX_DRAWS):
            clip = f"{self._name}:#{index}"  # if its own id cannot be read
            try:
                record = self._records[index]
                clip = clip_id(self._name, record)
                return make(record) | {"bad_records": bad}
            except UserError as error:
                if self._is_strict:
                    raise
                reason = reason_of(error, clip)
                bad.append(BadRecord(self._name, len(self._records), clip, reason))
            except PassOverError as passed:
                reason = str(passed)
            index = self._draw(rng)
        raise UserError(
            f"{self._name}: {_MAX_DRAWS} records drawn in a row cannot be used, the last: {reason}"
        )

    def _draw(self, rng: np.random.Generator) -> int:
        if self._substitutes is None:
            return int(rng.integers(len(self._records)))
        return int(self._substitutes[rng.integers(len(self._substitutes))])


def reason_of(error: UserError, clip: str) -> str:
    """The text of a record's error without the record's name."""
    return str(error).removeprefix(f"{clip}: ")
