"""From the names in a stage's mixture to opened datasets.

Any TFDS dataset in ArrayRecord files with the features of `record.RECORD` works, whoever wrote it: it is
found by its place, `DATA_DIR/builder[/config]/version`, and its builder's code is not needed. TensorFlow is
not either. Datasets of earlier schemas are adapted here (`older_records.py`).
"""

import dataclasses
import difflib
import pathlib
from collections.abc import Sequence

import tensorflow_datasets as tfds

from data_pipeline import older_records
from data_pipeline.record import Record
from dualdub_jax.config import SourceConfig
from dualdub_jax.errors import UserError

# Datasets that `dualdub data build` makes, named in errors before they are on disk.
BUILDABLE = ("puppet_stage/text_speech", "puppet_stage/video_audio", "puppet_stage/soundtrack")

_INFO_FILE = "dataset_info.json"


@dataclasses.dataclass(frozen=True)
class Source:
    """One opened dataset of a mixture.

    Attributes:
        name: as in the config, "builder/config".
        weight: its share of the examples; the weights of a mixture sum to 1.
        records: random access to its records, safe to read from threads and to send to processes.
    """

    name: str
    weight: float
    records: Sequence[Record]


def open_mixture(data_dir: str, mixture: Sequence[SourceConfig], split: str, where: str) -> list[Source]:
    """Opens all datasets of a mixture.

    Args:
        data_dir: the folder that datasets are in.
        mixture: names and weights, at least one.
        split: name of the split in every one of them.
        where: the config key of `mixture`, for errors.

    Raises:
        UserError: an empty mixture, a weight that is not positive, a name twice, or a dataset that
            `open_dataset` refuses.
    """
    if not mixture:
        raise UserError(f"{where}: is empty; name at least one dataset, such as {BUILDABLE[-1]!r}")
    names = [source.name for source in mixture]
    for source in mixture:
        if not source.weight > 0:
            raise UserError(f"{where}: {source.name!r} has weight {source.weight}; weights are above 0")
        if names.count(source.name) > 1:
            raise UserError(f"{where}: {source.name!r} is there twice; add its weights up in one entry")
    total = sum(source.weight for source in mixture)
    return [
        Source(source.name, source.weight / total, open_dataset(data_dir, source.name, split))
        for source in mixture
    ]


def open_dataset(data_dir: str, name: str, split: str) -> Sequence[Record]:
    """Opens one split of a dataset, its newest version unless `name` ends with one.

    Raises:
        UserError: no such dataset (the text names the nearest, or how to build it), no such split, an
            empty split, files in another format, or features other than those of `RECORD`.
    """
    builder = tfds.builder_from_directory(_find(pathlib.Path(data_dir), name))
    fields = set(builder.info.features)
    missing = older_records.missing_fields(fields)
    if missing:
        raise UserError(
            f"{name}: its records lack {', '.join(missing)}; "
            "use data_pipeline.record.record_features() in its builder"
        )
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise UserError(
            f"{name}: is in {builder.info.file_format.value} files, which have no random access; "
            'write it again with file_format="array_record"'
        )
    splits = builder.info.splits
    if split not in splits:
        raise UserError(f"{name}: has no split {split!r}; it has {', '.join(sorted(splits)) or 'none'}")
    if splits[split].num_examples == 0:
        raise UserError(f"{name}: its split {split!r} is empty; build it with at least one clip")
    return older_records.adapt(builder.as_data_source(split=split), fields)


def _find(data_dir: pathlib.Path, name: str) -> pathlib.Path:
    folder = data_dir / name
    if name and (folder / _INFO_FILE).is_file():
        return folder
    versions = [file.parent for file in folder.glob(f"*/{_INFO_FILE}") if _is_version(file.parent.name)]
    if name and versions:
        return max(versions, key=lambda path: tfds.core.Version(path.name))
    if name in BUILDABLE:
        raise UserError(
            f"{name}: is not in {data_dir}; run: dualdub data build {name.split('/')[0]} --out {data_dir}"
        )
    known = sorted({*BUILDABLE, *_names_on_disk(data_dir)})
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    raise UserError(
        f"{name!r}: no such dataset in {data_dir}; the nearest name is {near!r} "
        "(docs/data.md tells how to add one)"
    )


def _names_on_disk(data_dir: pathlib.Path) -> list[str]:
    files = [*data_dir.glob(f"*/*/{_INFO_FILE}"), *data_dir.glob(f"*/*/*/{_INFO_FILE}")]
    return [
        file.parent.parent.relative_to(data_dir).as_posix() for file in files if _is_version(file.parent.name)
    ]


def _is_version(text: str) -> bool:
    # A build that was interrupted leaves a folder such as "incomplete.X1Y2Z3_1.0.0".
    return tfds.core.Version.is_valid(text)
