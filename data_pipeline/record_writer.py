"""Records to a TFDS dataset in ArrayRecord files: all or nothing, deterministic bytes, no TensorFlow."""

import contextlib
import io
import itertools
import os
import pathlib
import resource
import tempfile
import types
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from dualdub_jax.data_pipeline.build_summary import FAILURES_FILE, BuildSummary
from dualdub_jax.data_pipeline.record import Record, record_features, text


def make_writer(
    *,
    name: str,
    version: str,
    config: str,
    description: str,
    data_dir: str | os.PathLike[str],
    metadata: dict[str, Any],
) -> "RecordWriter":
    """A writer of the dataset `data_dir/name[/config]/version`.

    Args:
        name: of the dataset.
        version: of the dataset.
        config: of the dataset; "" where it has none.
        description: of the config.
        data_dir: the folder of datasets.
        metadata: kept in the dataset, as JSON; what it holds when all records are written counts.
    """
    # TFDS reads name, version and configs from the class.
    fields: dict[str, Any] = {"name": name, "VERSION": tfds.core.Version(version)}
    if config:
        fields["BUILDER_CONFIGS"] = [tfds.core.BuilderConfig(name=config, description=description)]
    options = {"skip_registration": True}
    made = types.new_class("Dataset", (RecordWriter,), options, lambda space: space.update(fields))
    return made(data_dir, config, description, metadata)


class RecordWriter(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A TFDS builder of any records; see `make_writer`.

    TFDS writes into a temporary folder and renames it at the end, so an interrupted build leaves no dataset.
    Records are ordered by a hash of their ids.
    """

    def __init__(
        self, data_dir: str | os.PathLike[str], config: str, description: str, metadata: dict[str, Any]
    ) -> None:
        self._description = description
        self._metadata = tfds.core.MetadataDict(metadata)
        self._records: Mapping[str, Iterator[Record]] = {}
        super().__init__(data_dir=os.fspath(data_dir), config=config or None, file_format="array_record")

    @property
    def folder(self) -> pathlib.Path:
        """The dataset's folder."""
        return pathlib.Path(self.data_dir)

    def write(self, splits: Mapping[str, Iterator[Record]], summary: BuildSummary | None = None) -> int:
        """Writes the records of each split; a split without any is left out.

        Args:
            splits: their records.
            summary: of the records when all of them are written; kept in the dataset. None: none is.

        Returns:
            Number of splits that were written; if it is 0, there is no dataset.
        """
        self._records = {}
        for split, records in splits.items():
            first = next(records, None)
            if first is not None:
                self._records[split] = itertools.chain([first], records)
        if not self._records:
            return 0
        # Called as TFDS calls its own folder of an interrupted build, so that both are found and removed.
        beside = {"prefix": "incomplete.", "suffix": f"_{self.folder.name}", "dir": self.folder.parent}
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        # TFDS announces a download, of which there is none, on standard output.
        with (
            contextlib.redirect_stdout(io.StringIO()),
            _stable_serialisation(),
            _plain_bucket_files(),
            tempfile.TemporaryDirectory(**beside) as unused,
        ):
            self._summary = summary
            self.download_and_prepare(download_dir=unused)
        return len(self._records)

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        """As TFDS does it, in a temporary folder; what else belongs to the dataset goes there, too."""
        super()._download_and_prepare(*args, **kwargs)
        if self._summary is None:
            return
        self._metadata |= {"dropped": self._summary.dropped, "summary": self._summary.figures}
        if lines := self._summary.failure_lines():
            pathlib.Path(self.data_dir, FAILURES_FILE).write_text(lines, encoding="utf-8")

    def _info(self) -> tfds.core.DatasetInfo:
        return _Info(
            builder=self,
            description=self._description,
            features=record_features(),
            metadata=self._metadata,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        return {split: self._generate_examples(records) for split, records in self._records.items()}

    def _generate_examples(self, records: Iterator[Record]) -> Iterator[tuple[str, Record]]:
        for record in records:
            yield text(record["id"]), record


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Does nothing; TFDS makes a temporary folder for what is in its own bucket, and leaves it there."""


@contextlib.contextmanager
def _stable_serialisation() -> Iterator[None]:
    """While open, TFDS writes the fields of a record in a fixed order.

    A record is a protocol buffer with a map, whose order is otherwise that of a hash with a new seed in
    every process; TFDS has no setting for it.
    """
    original = ExampleSerializer.serialize_example

    def serialize_example(self: ExampleSerializer, example: dict[str, Any]) -> bytes:
        return self.get_tf_example(example).SerializeToString(deterministic=True)

    ExampleSerializer.serialize_example = serialize_example
    try:
        yield
    finally:
        ExampleSerializer.serialize_example = original


@contextlib.contextmanager
def _plain_bucket_files() -> Iterator[None]:
    """While open, TFDS shuffles splits of more than 1 GB through plain files.

    It keeps such a split in a thousand temporary files, which it opens through TensorFlow; it has no setting
    for that, and nothing else of a build needs TensorFlow.
    """
    original = shuffle.tf
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = types.SimpleNamespace(GFile=open, exists=os.path.exists, remove=os.remove)
    # TFDS asks for more open files only after TensorFlow's own error; here they are asked for beforehand.
    errors = types.SimpleNamespace(ResourceExhaustedError=())
    shuffle.tf = types.SimpleNamespace(io=types.SimpleNamespace(gfile=files), errors=errors)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        yield
    finally:
        shuffle.tf = original
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
