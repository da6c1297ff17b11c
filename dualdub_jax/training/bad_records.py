"""Records that could not be used in training: counted per dataset, logged, and limited to a share of it.

Batches replace such a record by another of its dataset and report it (`data_pipeline/replacement.py`), so the
position in the data does not depend on them. Counts are part of the checkpoint: a resumed run stops where an
uninterrupted one does. Source: our choice.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from dualdub_jax.config import BadRecordConfig
from dualdub_jax.errors import UserError
from dualdub_jax.parallel import distributed

_MAX_NAMED = 3  # records in a message


class BadRecord(NamedTuple):
    """A record that could not be used.

    Attributes:
        dataset: its name in the mixture.
        num_records: of the dataset's split.
        id: "dataset:id", or the dataset and the record's position if the id cannot be read.
        reason: what is wrong with it, and the remedy.
    """

    dataset: str
    num_records: int
    id: str
    reason: str


class BadRecords:
    """Bookkeeping of one phase; equal in all processes after each `settle`.

    Args:
        config: the limit.
        state: from `state()`, for a resumed run; None for a new one.
    """

    def __init__(self, config: BadRecordConfig, state: dict[str, Any] | None):
        self._config = config
        self._known = {row[2]: BadRecord(*row) for row in (state or {}).get("known", ())}
        self._seen: list[BadRecord] = []

    @property
    def total(self) -> int:
        """Number of distinct records so far."""
        return len(self._known)

    def state(self) -> dict[str, Any]:
        """JSON state to save with the checkpoint."""
        return {"known": [list(record) for record in self._known.values()]}

    def add(self, found: Iterable[BadRecord]) -> None:
        """Notes the records that a consumed batch reports."""
        self._seen += found

    def settle(self) -> list[BadRecord]:
        """Merges what all processes have seen; every process must call it after the same step.

        Returns:
            The records that are reported for the first time.

        Raises:
            UserError: more records of a dataset than `allowed`.
        """
        gathered = [BadRecord(*row) for rows in distributed.gather_json(self._seen) for row in rows]
        self._seen = []
        new = {record.id: record for record in gathered if record.id not in self._known}
        self._known |= new
        check_share(self._known.values(), self._config)
        return list(new.values())


def allowed(num_records: int, config: BadRecordConfig) -> int:
    """Records of a dataset that may be bad: the share of the config, and at least one unless it is 0."""
    return max(int(config.max_share * num_records), 1) if config.max_share > 0 else 0


def check_share(records: Iterable[BadRecord], config: BadRecordConfig) -> None:
    """Checks the number of bad records of every dataset.

    Raises:
        UserError: too many; the message names the first of them.
    """
    by_dataset: dict[str, list[BadRecord]] = {}
    for record in records:
        by_dataset.setdefault(record.dataset, []).append(record)
    for dataset, bad in by_dataset.items():
        limit = allowed(bad[0].num_records, config)
        if len(bad) > limit:
            raise UserError(f"{dataset}: {too_many(bad, limit, config)}")


def too_many(bad: list[BadRecord], limit: int, config: BadRecordConfig) -> str:
    """The message about a dataset with too many bad records.

    Args:
        bad: of one dataset, at least one.
        limit: how many are accepted.
        config: with the share.
    """
    named = "; ".join(f"{record.id}: {record.reason}" for record in bad[:_MAX_NAMED])
    more = f"; and {len(bad) - _MAX_NAMED} more" if len(bad) > _MAX_NAMED else ""
    return (
        f"{len(bad)} of its {bad[0].num_records} records cannot be used, and bad_records.max_share="
        f"{config.max_share:g} accepts {limit}: {named}{more}; `dualdub data check` lists all: mend them, or "
        "raise --config.bad_records.max_share"
    )
