"""Differences between the data of a checkpoint and of the run that resumes from it.

Batch iterators describe their stream of batches under "stream" in their position: "mixture", a list of [name,
weight, number of clips], "fingerprints" by name, and plain values. Iterators without it are not compared.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dualdub_jax.training.settings import Change

_DATA = ("mixture", "fingerprints")


class DatasetChange(NamedTuple):
    """A dataset whose clips differ: numbers of clips and fingerprints, None where unknown."""

    dataset: str
    old_clips: int
    new_clips: int
    old_fingerprint: str | None
    new_fingerprint: str | None

    def __str__(self) -> str:
        return (
            f"{self.dataset} had {self.old_clips} clips ({self.old_fingerprint or 'unknown'}) "
            f"and has {self.new_clips} ({self.new_fingerprint or 'unknown'})"
        )


def dataset_changes(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[DatasetChange]:
    """Datasets of both positions whose clips differ.

    Args:
        saved: position of a checkpoint.
        current: position of the run's iterator.
    """
    old, new = _datasets(saved), _datasets(current)
    return [
        DatasetChange(name, old[name][0], new[name][0], old[name][1], new[name][1])
        for name in new
        if name in old
        # Checkpoints of older versions have no fingerprints.
        and (old[name][0] != new[name][0] or old[name][1] not in (None, new[name][1]))
    ]


def recipe_changes(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[Change]:
    """Other differences of the streams, such as the batch size or the datasets and weights of the mixture."""
    old, new = saved.get("stream", {}), current.get("stream", {})
    changes = [
        Change(key, old.get(key), new.get(key))
        for key in dict.fromkeys([*new, *old])
        if key not in _DATA and old.get(key) != new.get(key)
    ]
    mixtures = [[entry[:2] for entry in stream.get("mixture", [])] for stream in (old, new)]
    return changes + ([Change("mixture", *mixtures)] if mixtures[0] != mixtures[1] else [])


def at_same_batch(saved: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """The saved position in the current stream; of another stream, only its number of batches."""
    if "stream" not in current:
        return dict(saved)
    kept = saved if saved.get("stream") == current["stream"] else {"next_batch": saved["next_batch"]}
    return {**kept, "stream": current["stream"]}


def _datasets(position: Mapping[str, Any]) -> dict[str, tuple[int, str | None]]:
    stream = position.get("stream", {})
    fingerprints = stream.get("fingerprints", {})
    entries: Sequence[Sequence[Any]] = stream.get("mixture", [])
    return {name: (num_clips, fingerprints.get(name)) for name, _, num_clips in entries}
