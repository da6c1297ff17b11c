"""Opens the datasets that a stage's mixture names.

Any TFDS dataset in ArrayRecord files with the features of `record.RECORD` works: it is found by its path,
`DATA_DIR/builder[/config]/version`, without its builder's code and without TensorFlow.
"""

import dataclasses
import difflib
from collections.abc import Sequence

import tensorflow_datasets as tfds

from dualdub_jax.config import SourceConfig
from dualdub_jax.data_pipeline.builders import registry
from dualdub_jax.data_pipeline.dataset import INFO_FILE, Dataset
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import reached
from dualdub_jax.stores.path import StorePath, as_path


@dataclasses.dataclass(frozen=True)
class Source:
    """One opened dataset of a mixture.

    Attributes:
        name: as in the config, "builder/config".
        weight: its share of the examples; the weights of a mixture sum to 1.
        records: random access to its records, safe to read from threads and to send to processes.
        folder: of the dataset; its sidecars are in it.
        fingerprint: of the split's bytes; empty: not computed.
    """

    name: str
    weight: float
    records: Sequence[Record]
    folder: StorePath
    fingerprint: str = ""


def open_mixture(data_dir: str, mixture: Sequence[SourceConfig], split: str, where: str) -> list[Source]:
    """Opens all datasets of a mixture.

    Args:
        data_dir: the folder that datasets are in, local or on an object store.
        mixture: names and weights, at least one.
        split: name of the split in every one of them.
        where: the config key of `mixture`, for errors.

    Raises:
        UserError: an empty mixture, a weight that is not positive, a name twice, or a dataset that
            `open_dataset` refuses.
    """
    if not mixture:
        raise UserError(f"{where}: is empty; name at least one dataset, such as {registry.buildable()[-1]!r}")
    names = [source.name for source in mixture]
    for source in mixture:
        if not source.weight > 0:
            raise UserError(f"{where}: {source.name!r} has weight {source.weight}; weights are above 0")
        if names.count(source.name) > 1:
            raise UserError(f"{where}: {source.name!r} is there twice; add its weights up in one entry")
    total = sum(source.weight for source in mixture)
    opened = []
    for source in mixture:
        dataset = find_dataset(data_dir, source.name, f"{where}: ")
        records = dataset.records(split)
        weight = source.weight / total
        opened.append(Source(source.name, weight, records, dataset.folder, dataset.fingerprint(split)))
    return opened


def find_dataset(data_dir: str, name: str, where: str = "") -> Dataset:
    """A dataset by name, its newest version unless `name` ends with one.

    Raises:
        UserError: as `open_dataset`; the message on a name that does not exist begins with `where`.
    """
    return Dataset(_find(data_dir, name, where), name)


def open_dataset(data_dir: str, name: str, split: str) -> Sequence[Record]:
    """Opens one split of a dataset, its newest version unless `name` ends with one.

    Raises:
        UserError: no such dataset (the text names the nearest, or how to build it), no such split, an
            empty split, files in another format, or features other than those of `RECORD`.
    """
    return find_dataset(data_dir, name).records(split)


def _find(folder_of_all: str, name: str, where: str = "") -> StorePath:
    data_dir = reached(as_path(folder_of_all, "data_dir"))
    folder = data_dir / name
    if name and (folder / INFO_FILE).is_file():
        return folder
    versions = [file.parent for file in folder.glob(f"*/{INFO_FILE}") if _is_version(file.parent.name)]
    if name and versions:
        return max(versions, key=lambda path: tfds.core.Version(path.name))
    buildable = registry.buildable()
    if name in buildable:
        raise UserError(
            f"{name}: is not in {data_dir}; run: dualdub data build {name.split('/')[0]} --out {data_dir}"
        )
    known = sorted({*buildable, *_names_on_disk(data_dir)})
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    raise UserError(
        f"{where}{name!r}: no such dataset in {data_dir}; the nearest name is {near!r} "
        "(docs/data.md shows how to add one)"
    )


def _names_on_disk(data_dir: StorePath) -> list[str]:
    files = [*data_dir.glob(f"*/*/{INFO_FILE}"), *data_dir.glob(f"*/*/*/{INFO_FILE}")]
    return [
        file.parent.parent.relative_to(data_dir).as_posix() for file in files if _is_version(file.parent.name)
    ]


def _is_version(text: str) -> bool:
    # A build that was interrupted leaves a folder such as "incomplete.X1Y2Z3_1.0.0".
    return tfds.core.Version.is_valid(text)
