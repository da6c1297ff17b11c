"""Datasets of a few short clips with all labels, some of whose records are to be bad."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow_datasets as tfds

from dualdub_jax.data_pipeline.record_writer import make_writer
from tests.tiny_dataset import film_bytes, make_labels, make_record

_FILM = film_bytes(10)


def labelled_record(name: str, **fields: Any) -> dict[str, Any]:
    """A usable record of 10 frames; `fields` replace some of it."""
    fields = {"video": _FILM, "script": "say so", **fields}
    return make_record(name, **{"events": make_labels(fields["script"]), **fields})


def write_clips(
    data_dir: pathlib.Path, records: Iterable[Mapping[str, Any]], name: str = "clips"
) -> pathlib.Path:
    """Writes the split "train" of a dataset; returns the dataset's folder."""
    tfds.disable_progress_bar()
    writer = make_writer(
        name=name, version="1.0.0", config="", description="clips", data_dir=data_dir, metadata={}
    )
    writer.write({"train": iter(records)})
    return writer.folder
