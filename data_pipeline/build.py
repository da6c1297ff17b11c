"""`dualdub data build`: any builder's records into datasets on disk."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import rich.console
import tensorflow_datasets as tfds

from dualdub_jax.data_pipeline.beam import Beam, make_items
from dualdub_jax.data_pipeline.build_summary import FAILURES_FILE, BuildSummary
from dualdub_jax.data_pipeline.builders.base import Builder, Dropped
from dualdub_jax.data_pipeline.builders.registry import find_builder, split_name
from dualdub_jax.data_pipeline.dataset import INFO_FILE
from dualdub_jax.data_pipeline.disk_errors import disk_errors
from dualdub_jax.data_pipeline.item_spool import ItemSpool, Made
from dualdub_jax.data_pipeline.item_workers import ItemWorkers
from dualdub_jax.data_pipeline.progress import Progress
from dualdub_jax.data_pipeline.record import Record, text
from dualdub_jax.data_pipeline.record_writer import RecordWriter, make_writer
from dualdub_jax.errors import UserError
from dualdub_jax.stores.commit import remove_folder, staged_folder, write_whole
from dualdub_jax.stores.failures import reached
from dualdub_jax.stores.path import StorePath, as_path, is_remote


def build(
    name: str | Builder,
    out_dir: str | os.PathLike[str],
    *,
    num_processes: int | None = None,
    console: rich.console.Console | None = None,
    **options: Any,
) -> list[StorePath]:
    """Builds a dataset: a progress bar on a terminal, plain lines elsewhere.

    A config that is already there, built from the same recipe, is left as it is. What is made of each item
    is kept until the dataset is written, so that a build that was killed goes on, with the same bytes. Each
    item that gives no record is named, listed in `failures.jsonl` of the dataset, and counted by reason in
    its metadata.

    Args:
        name: a builder by name or import path, followed by "/config" for one config alone, such as
            "puppet_stage/soundtrack"; or a builder itself, for all of its configs.
        out_dir: records land in `out_dir/dataset[/config]/version`, on a local disk or an object store. For a
            store they are written to a temporary folder (`TMPDIR`) and then uploaded.
        num_processes: that work at the same time; None is one for each CPU.
        console: where to report; None is standard error.
        options: of the builder's constructor, if it is given by name.

    Returns:
        The folder of each config, in the builder's order.

    Raises:
        UserError: an unknown name, config or option, a source that cannot be read or gives no record, a
            folder that cannot be written, or one that holds a build from another recipe.
    """
    console = console or rich.console.Console(stderr=True)
    only = ""
    if isinstance(name, str):
        name, only = split_name(name)
        builder = find_builder(name)(**options)
    else:
        builder = name
    return build_configs(builder, out_dir, only=only, num_processes=num_processes, console=console)


def build_configs(
    builder: Builder,
    out_dir: str | os.PathLike[str],
    *,
    only: str = "",
    num_processes: int | None = None,
    console: rich.console.Console | None = None,
    beam: Beam | None = None,
) -> list[StorePath]:
    """`build` of a builder that is there.

    Args:
        builder: whose configs.
        out_dir: see `build`.
        only: the only config to build; "" is all.
        num_processes: see `build`.
        console: see `build`.
        beam: makes the records on workers of Apache Beam; None: in processes of this machine.
    """
    console = console or rich.console.Console(stderr=True)
    if only and only not in builder.configs:
        choices = f"choose one of {', '.join(builder.configs)}" if builder.configs else "it has none"
        raise UserError(f"{builder.name}/{only}: no such config; {choices}")
    builder.check()
    if beam is not None:
        beam.check()
    out_dir = reached(as_path(out_dir))
    try:
        if not is_remote(out_dir):
            out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out_dir}: cannot be written ({error.strerror}); choose another --out") from error
    tfds.disable_progress_bar()  # ours counts items, over all splits
    num_processes = num_processes or os.cpu_count() or 1
    configs = [only] if only else list(builder.configs) or [""]
    return [_build_config(builder, config, out_dir, num_processes, console, beam) for config in configs]


def _build_config(
    builder: Builder,
    config: str,
    out_dir: StorePath,
    num_processes: int,
    console: rich.console.Console,
    beam: Beam | None,
) -> StorePath:
    recipe = json.loads(json.dumps(builder.recipe(config)))  # as it is read back
    label = f"{builder.dataset_name}/{config}".rstrip("/")
    folder = out_dir / label / builder.version
    # On a store, a folder without its marker is what an interrupted upload has left.
    if (folder / INFO_FILE if is_remote(folder) else folder).exists():
        _check_same_recipe(folder, recipe)
        console.print(f"{label}: already built in {folder}", soft_wrap=True)
        return folder
    if is_remote(folder):
        remove_folder(folder, INFO_FILE)
    spool = ItemSpool.of_build(out_dir, f"{label}/{builder.version}", recipe)
    with (
        disk_errors(out_dir, "choose another --out"),
        spool.alone(),
        staged_folder(out_dir, INFO_FILE) as data_dir,
    ):
        _remove_incomplete(folder)
        writer = make_writer(
            name=builder.dataset_name,
            version=builder.version,
            config=config,
            description=builder.configs.get(config) or builder.description,
            data_dir=data_dir,
            metadata={"builder": builder.name, "recipe": recipe},
        )
        mend = "set TMPDIR to another disk" if is_remote(folder) else "choose another --out"
        with disk_errors(data_dir, mend):
            _write(builder, config, writer, spool, label, num_processes, console, beam, out_dir / label)
        spool.remove()
    return folder


def _remove_incomplete(folder: StorePath) -> None:
    """Removes what TFDS had written of this dataset when a build was killed."""
    if not is_remote(folder):
        for path in folder.parent.glob(f"incomplete.*_{folder.name}"):
            shutil.rmtree(path)


def _write(
    builder: Builder,
    config: str,
    writer: RecordWriter,
    spool: ItemSpool,
    label: str,
    num_processes: int,
    console: rich.console.Console,
    beam: Beam | None,
    folder: StorePath,
) -> None:
    splits = builder.splits(config)
    if beam is not None:
        console.print(f"{label}: {sum(map(len, splits.values()))} {builder.unit} with {beam.runner}")
        make_items(beam, builder, config, spool, splits)
        num_processes = 1  # all items are there
    summary = BuildSummary()
    seen: dict[str, str] = {}
    with (
        Progress(console, label, sum(map(len, splits.values())), builder.unit) as progress,
        ItemWorkers(builder, config, spool, num_processes) as workers,
    ):
        made = {split: workers.records(split, items) for split, items in splits.items()}
        num_splits = writer.write(
            {split: _kept(split, items, seen, summary, progress) for split, items in made.items()}, summary
        )
    console.print(f"{label}: {summary.sentence()}", soft_wrap=True, markup=False, highlight=False)
    if summary.dropped:
        counts = ", ".join(f"{reason} {count}" for reason, count in summary.dropped.items())
        console.print(f"{label}: dropped: {counts}", soft_wrap=True, markup=False)
    failures = folder / FAILURES_FILE  # of a build without a dataset to keep them in
    if num_splits:
        failures.unlink(missing_ok=True)
        return
    spool.remove()
    listed = ""
    if lines := summary.failure_lines():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(failures, lines.encode())
        listed = f": all {lines.count(chr(10))} are listed in {failures}"
    raise UserError(
        f"{label}: no item of the source gives a record{listed}; mend them, or give another source"
    )


def _kept(
    split: str,
    items: Iterator[Iterator[Made]],
    seen: dict[str, str],
    summary: BuildSummary,
    progress: Progress,
) -> Iterator[Record]:
    """The records of a split's items; what is dropped is named and counted.

    Args:
        split: its name.
        items: what each has given.
        seen: id -> split of the records of all splits so far. An id of another split, such as the number of a
            row that every split counts anew, gets the split's name before it, since sidecars are read by id.
        summary: is added to.
        progress: of the items.
    """
    for made in items:
        for found in made:
            if not isinstance(found, Dropped):
                found = _with_own_id(found, split, seen)
            if isinstance(found, Dropped):
                summary.drop(found)
                detail = f" ({found.detail})" if found.detail else ""
                progress.note(f"{found.source}: dropped: {found.reason}{detail}")
            else:
                summary.keep(found)
                yield found
        progress.advance()


def _with_own_id(found: Record, split: str, seen: dict[str, str]) -> Made:
    clip = text(found["id"])
    if seen.get(clip, split) != split:
        clip = f"{split}/{clip}"
    if clip in seen:
        return Dropped(clip, "id is there twice", stage="write")
    seen[clip] = split
    return {**found, "id": clip}


def _check_same_recipe(path: StorePath, recipe: Mapping[str, Any]) -> None:
    metadata = path / "metadata.json"
    found = json.loads(metadata.read_text()).get("recipe") if metadata.is_file() else None
    if found != recipe:
        raise UserError(
            f"{path}: holds a build with other settings ({found}, not {dict(recipe)}); remove that folder or "
            "choose another --out"
        )
