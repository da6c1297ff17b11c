"""Examples of several datasets, mixed by weight, and the share of each process in their batches.

Datasets are mixed before batches are divided among processes, which makes the global batch whole on any
number of processes.
"""

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from dualdub_jax.data_pipeline.collate import collate
from dualdub_jax.data_pipeline.mixture import Source
from dualdub_jax.data_pipeline.replacement import ReplaceBad, Transform
from dualdub_jax.errors import UserError


def mix_examples(
    sources: Sequence[Source],
    transform: Callable[[Source], Transform],
    *,
    seed: Sequence[int],
    repeat: bool,
    shuffle: bool,
    is_strict: bool | None = None,
    substitutes: Mapping[str, np.ndarray] | None = None,
) -> grain.MapDataset:
    """Examples of several datasets, each shuffled by itself and transformed, mixed by weight.

    Args:
        sources: the datasets.
        transform: of a dataset's records.
        seed: of the order and of random decisions.
        repeat: endless epochs.
        shuffle: in another order in each epoch.
        is_strict: a bad record is an error, and not replaced (`ReplaceBad`); None: in a single pass.
        substitutes: by name of a dataset, the records that bad ones are replaced by; None: all.
    """
    is_strict = not repeat if is_strict is None else is_strict

    def usable(source: Source) -> ReplaceBad:
        others = None if substitutes is None else substitutes[source.name]
        return ReplaceBad(source.name, source.records, transform(source), is_strict, others)

    mixed = [_order(source, seed, repeat, shuffle).random_map(usable(source)) for source in sources]
    return grain.MapDataset.mix(mixed, weights=[source.weight for source in sources])


def mix_indices(
    sources: Sequence[Source], *, seed: Sequence[int], repeat: bool, shuffle: bool
) -> grain.MapDataset:
    """The records of `mix_examples` with the same arguments: (number of the dataset, index of the record)."""
    mixed = [
        _order(source, seed, repeat, shuffle).map(functools.partial(_pair, number))
        for number, source in enumerate(sources)
    ]
    return grain.MapDataset.mix(mixed, weights=[source.weight for source in sources])


def _pair(number: int, index: int) -> tuple[int, int]:
    return number, index


def _order(source: Source, seed: Sequence[int], repeat: bool, shuffle: bool) -> grain.MapDataset:
    """Indices of a dataset's records."""
    # Hashed, not added: grain shuffles epoch e with seed + e, so that seeds 0 and 1 would share orders.
    mixed = np.random.SeedSequence([*seed, zlib.crc32(source.name.encode())])
    dataset = grain.MapDataset.range(len(source.records)).seed(int(mixed.generate_state(1)[0]))
    if shuffle:
        dataset = dataset.shuffle()
    return dataset.repeat() if repeat else dataset


def check_batch_size(batch_size: int, process_count: int, where: str) -> None:
    """Checks that the processes can share a batch.

    Raises:
        UserError: they cannot.
    """
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"{where}: batch_size {batch_size} is not a positive multiple of the {process_count} processes"
        )


def take_share(
    examples: grain.MapDataset, batch_size: int, process_index: int, process_count: int, where: str
) -> grain.MapDataset:
    """Batches of this process."""
    check_batch_size(batch_size, process_count, where)
    local = examples.batch(batch_size // process_count, drop_remainder=True, batch_fn=collate)
    return local[process_index::process_count]


def describe_stream(
    name: str,
    sources: Sequence[Source],
    split: str,
    seed: int,
    batch_size: int,
    repeat: bool,
    shuffle: bool,
) -> dict[str, Any]:
    """What a stream of batches depends on, as JSON gives it back."""
    return {
        "name": name,
        "seed": seed,
        "batch_size": batch_size,
        "split": split,
        "repeat": repeat,
        "shuffle": shuffle,
        "mixture": [[source.name, source.weight, len(source.records)] for source in sources],
        "fingerprints": {source.name: source.fingerprint for source in sources},
    }
