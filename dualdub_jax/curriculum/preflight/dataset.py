"""`dualdub data check`: every record of a folder of datasets against a config."""

import collections
import json
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rich.console

from dualdub_jax.config import Config
from dualdub_jax.curriculum.preflight.parts import Parts, check_parts
from dualdub_jax.curriculum.preflight.problems import Problems
from dualdub_jax.curriculum.preflight.uses import Use, example_use, uses_of
from dualdub_jax.curriculum.preflight.values import check_values
from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.dataset import Dataset, find_datasets
from dualdub_jax.data_pipeline.frame_times import num_frames_of
from dualdub_jax.data_pipeline.mixture import Source
from dualdub_jax.data_pipeline.prepared import with_features
from dualdub_jax.data_pipeline.progress import Progress
from dualdub_jax.data_pipeline.record import Record, clip_id
from dualdub_jax.data_pipeline.record_check import Findings, check_records
from dualdub_jax.encoders.base import video_inputs
from dualdub_jax.errors import UserError, UserErrors
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.record_video import decode_frames
from dualdub_jax.stores.path import StorePath
from dualdub_jax.training.bad_records import BadRecord

_FRAME_SIZE = 16  # of frames that are decoded only to see whether they can be
_NUMBER = re.compile(r"\d[\d.]*")


def check_datasets(
    folder: StorePath,
    config: Config,
    *,
    json_file: pathlib.Path | None = None,
    console: rich.console.Console | None = None,
) -> None:
    """Checks all records of all splits of all datasets, and prints those that the config cannot take.

    A dataset that the config's mixtures name is checked for the phases that read it, any other for a stage.

    Args:
        folder: a dataset, or a folder above several; local or on an object store.
        config: of a run.
        json_file: also written, with ids, reasons and counts; None: none.
        console: where to print; None is standard output. Progress goes to standard error.

    Raises:
        UserErrors: records that cannot be used, damaged datasets, or a config that is not sound.
    """
    console = console or rich.console.Console()
    problems = Problems()
    check_values(config, problems)
    parts = check_parts(config, problems)
    uses = uses_of(config, parts.tokenizer, problems)
    if problems.messages:
        raise UserErrors(problems.messages)
    found: dict[str, Findings] = {}
    for path in find_datasets(folder):
        with problems.noted():
            dataset = Dataset(path)
            for split in dataset.splits:
                with problems.noted():
                    label = f"{dataset.name}/{split}"
                    found[label] = _check_split(dataset, split, config, parts, uses, console)
    _print_reasons(found, console)
    if json_file is not None:
        _write_json(json_file, found, problems.messages)
    num_bad = sum(len(findings.bad) for findings in found.values())
    if num_bad:
        total = sum(findings.num_records for findings in found.values())
        problems.add(
            f"{folder}: {num_bad} of {total} records cannot be used; mend or drop them where they are built, "
            "or change the config (training accepts a share of bad_records.max_share)"
        )
    if problems.messages:
        raise UserErrors(problems.messages)


def _check_split(
    dataset: Dataset,
    split: str,
    config: Config,
    parts: Parts,
    uses: Sequence[Use],
    console: rich.console.Console,
) -> Findings:
    source = Source(dataset.name, 1.0, dataset.records(split), dataset.folder)
    names = {dataset.name, f"{dataset.name}/{dataset.folder.name}"}
    named = {use.kind: use for use in uses if names & {source.name for source in use.mixture}}
    label = f"{dataset.name}/{split}"
    if not named:
        if parts.tokenizer is None:  # of CASP
            named = {use.kind: use for use in uses}
        else:
            named = {"example": example_use(config, parts.tokenizer, label, (), ())}
        _say(console, f"{label}: is in no mixture of the config; checked for {', '.join(named)}")
    transforms = [use.transform(dataset.name) for use in named.values()]
    if "example" in named:
        (source,) = with_features(config, [source])
        if "video" in video_inputs(config.model):
            transforms.append(_WholeVideo(dataset.name, config))
    with Progress(rich.console.Console(stderr=True), label, len(source.records), "records") as progress:

        def on_checked(bad: BadRecord | None) -> None:
            if bad is not None:
                _say(console, f"{bad.id}: {bad.reason}")
            progress.advance()

        indices = range(len(source.records))
        found = check_records(dataset.name, source.records, transforms, indices, on_checked=on_checked)
    labels = ", ".join(f"{name} {count}" for name, count in sorted(found.labels.items()))
    _say(console, f"{label}: {found.num_records} records, {len(found.bad)} cannot be used; with {labels}")
    return found


class _WholeVideo:
    """Decodes the video of a clip to its end: an example shows only a part of a long clip."""

    def __init__(self, name: str, config: Config) -> None:
        self._name, self._grid = name, config.grid

    def begin(self, rng: np.random.Generator) -> Callable[[Record], dict[str, Any]]:
        """See `replacement.Transform`."""
        return self._decode

    def _decode(self, record: Record) -> dict[str, Any]:
        clip = clip_id(self._name, record)
        num_frames = num_frames_of(record_lib.duration_s(record, clip), self._grid.frame_rate)
        if record["video"] and num_frames > self._grid.num_frames:
            try:
                decode_frames(
                    record["video"], FrameSpec(self._grid.frame_rate, _FRAME_SIZE), num_frames - 1, 1
                )
            except ValueError as error:
                raise UserError(f"{clip}: its video {error}; build the dataset again") from error
        return {}


def _print_reasons(found: dict[str, Findings], console: rich.console.Console) -> None:
    for reason, count in _counted(bad for findings in found.values() for bad in findings.bad).items():
        _say(console, f"{count:>6}  {reason}")


def _counted(bad: Any) -> dict[str, int]:
    """Reason without its numbers and remedy -> number of records, the most frequent first."""
    counts = collections.Counter(_NUMBER.sub("…", record.reason.partition(";")[0]) for record in bad)
    return dict(counts.most_common())


def _write_json(path: pathlib.Path, found: dict[str, Findings], problems: Sequence[str]) -> None:
    splits = {
        label: {
            "records": findings.num_records,
            "bad": [{"id": bad.id, "reason": bad.reason} for bad in findings.bad],
            "reasons": _counted(findings.bad),
            "labels": dict(sorted(findings.labels.items())),
        }
        for label, findings in found.items()
    }
    text = json.dumps({"splits": splits, "problems": list(problems)}, indent=1, ensure_ascii=False)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"--json {path}: cannot be written ({error.strerror}); choose another file"
        ) from error


def _say(console: rich.console.Console, text: str) -> None:
    # Without emoji: the id "films:x:" would be printed as a picture.
    console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)
