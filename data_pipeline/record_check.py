"""Checks records without training on them: whether transforms accept them, and which labels they carry."""

import collections
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.record import Record, clip_id
from dualdub_jax.data_pipeline.replacement import PassOverError, Transform, reason_of
from dualdub_jax.errors import UserError
from dualdub_jax.text.phonemes import SYMBOLS, plain
from dualdub_jax.training.bad_records import BadRecord

_MAX_THREADS = 8
# Fields that are a label when they are not empty.
_MEDIA = ("video", "video_features", "speech", "background", "voice")


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a check found in the records of one split.

    Attributes:
        num_records: of the split.
        num_checked: of them.
        bad: the records that a transform refuses, in order, each once.
        labels: label -> number of usable records with it, see `labels_of`.
    """

    num_records: int
    num_checked: int
    bad: list[BadRecord]
    labels: Mapping[str, int]


def check_records(
    name: str,
    records: Sequence[Record],
    transforms: Sequence[Transform],
    indices: Iterable[int],
    *,
    limit_s: float | None = None,
    on_checked: Callable[[BadRecord | None], None] | None = None,
) -> Findings:
    """Checks records in threads.

    Args:
        name: of the dataset.
        records: of one split.
        transforms: that must accept every record.
        indices: of the records to check.
        limit_s: records whose turn comes after so many seconds are left out; None: none are.
        on_checked: called for each record in order, with what is wrong with it.
    """
    until = None if limit_s is None else time.monotonic() + limit_s
    labels: collections.Counter[str] = collections.Counter()
    bad: list[BadRecord] = []
    num_checked = 0

    def check(index: int) -> tuple[BadRecord | None, set[str]] | None:
        if until is not None and time.monotonic() > until:
            return None
        return _check_record(name, records, index, transforms)

    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_THREADS))
    try:
        for result in pool.map(check, indices):
            if result is None:
                continue
            found, present = result
            num_checked += 1
            labels.update(present)
            if found is not None:
                bad.append(found)
            if on_checked is not None:
                on_checked(found)
    finally:
        pool.shutdown(cancel_futures=True)  # after an interrupt
    return Findings(len(records), num_checked, bad, labels)


def _check_record(
    name: str, records: Sequence[Record], index: int, transforms: Sequence[Transform]
) -> tuple[BadRecord | None, set[str]]:
    clip = f"{name}:#{index}"
    try:
        record = records[index]
        clip = clip_id(name, record)
        for transform in transforms:
            try:
                transform.begin(np.random.default_rng(index))(record)
            except PassOverError:
                continue
        return None, labels_of(record, clip)
    except UserError as error:
        return BadRecord(name, len(records), clip, reason_of(error, clip)), set()


def labels_of(record: Record, clip: str) -> set[str]:
    """What a record holds for training: its media, "script" (known, even if empty) and labels of its events.

    "phonemes" are those of `text.phonemes.SYMBOLS`; "word times" count with a script and speech.

    Args:
        record: of a dataset.
        clip: for errors.

    Raises:
        UserError: malformed events.
    """
    found = {name for name in _MEDIA if record[name]}
    script = record_lib.script(record)
    if script is not None:
        found.add("script")
    if np.isfinite(record_lib.read_acoustics(record, clip)).all():
        found.add("acoustics")
    if any(plain(name) in SYMBOLS for name, _, _ in record_lib.timings(record, clip, "phonemes")):
        found.add("phonemes")
    if script and record["speech"] and record_lib.timings(record, clip, "words"):
        found.add("word times")
    return found
