"""Items and shards on workers of Apache Beam: the files that local processes would write, on a shared disk.

A worker needs this package, and the source and the folder of datasets on a store or on a disk that all share.
The dataset itself is then written by the process that started the pipeline.
"""

import contextlib
import dataclasses
import importlib.util
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dualdub_jax.config import Config
from dualdub_jax.data_pipeline.builders.base import Builder, Item
from dualdub_jax.data_pipeline.derivations import derivations
from dualdub_jax.data_pipeline.item_spool import ItemSpool
from dualdub_jax.data_pipeline.item_workers import make_item
from dualdub_jax.data_pipeline.orphans import die_with_parent
from dualdub_jax.data_pipeline.prepare import write_shards
from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import StorePath, as_path

_MAX_RUNS = 4  # of a pipeline whose workers are killed
_WORKER_LOST = 75


@dataclasses.dataclass(frozen=True)
class Beam:
    """A runner of Apache Beam and its options.

    Attributes:
        runner: its name.
        options: "name=value", or "name" of a switch, as the runner's documentation has them.
    """

    runner: str
    options: tuple[str, ...] = ()

    def check(self) -> None:
        """Fails before any work.

        Raises:
            UserError: the package is not installed.
        """
        if importlib.util.find_spec("apache_beam") is None:
            raise UserError(
                f"--beam-runner {self.runner}: needs the package apache-beam; pip install 'dualdub-jax[beam]'"
            )

    def run(self, missing: Callable[[], Sequence[Any]], do: Callable[[Any], None]) -> None:
        """Does each piece of work once; pieces and function are sent to workers.

        Runners of clusters replace workers that die. DirectRunner with processes waits for them forever, so
        its pipeline is run in a process of its own, and again with what is missing if a worker was killed.

        Args:
            missing: the pieces that are still to be done.
            do: does one piece; idempotent.

        Raises:
            UserError: an option that the runner refuses, or workers that are killed again and again.
        """
        options = self._options()
        if self.runner != "DirectRunner" or not any("multi_processing" in option for option in self.options):
            _run_pipeline(options, missing(), do)
            return
        for _ in range(_MAX_RUNS):
            if not (work := missing()) or not _loses_worker(options, work, do):
                return
            print(f"{self.runner}: a worker was killed; what is missing is done again", file=sys.stderr)
        raise UserError(
            f"--beam-runner {self.runner}: workers were killed in {_MAX_RUNS} runs in a row, perhaps for "
            "want of memory; set a lower --beam-option direct_num_workers"
        )

    def _options(self) -> Any:
        from apache_beam.options.pipeline_options import PipelineOptions

        # The last of equal options counts. Workers log a dozen lines each at the default level.
        quiet = "default_sdk_harness_log_level=ERROR"
        flags = [f"--{option.lstrip('-')}" for option in (f"runner={self.runner}", quiet, *self.options)]
        usage = io.StringIO()
        try:
            with contextlib.redirect_stderr(usage):  # usage of some hundred lines
                options = PipelineOptions(flags)
                options.get_all_options()
        except SystemExit as error:
            reason = usage.getvalue().strip().rpartition("error: ")[2]
            raise UserError(
                f"--beam-option {' '.join(self.options)}: refused by {self.runner} ({reason}); correct it"
            ) from error
        return options


def _run_pipeline(options: Any, work: Sequence[Any], do: Callable[[Any], None]) -> None:
    import apache_beam

    with apache_beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | "work" >> apache_beam.Create(list(work))
            | "spread" >> apache_beam.Reshuffle()
            | "do" >> apache_beam.Map(do)
        )


def _loses_worker(options: Any, work: Sequence[Any], do: Callable[[Any], None]) -> bool:
    """Runs a pipeline in a process of its own; whether one of its workers died."""
    process = multiprocessing.get_context("spawn").Process(target=_run_watched, args=(options, work, do))
    process.start()
    try:
        process.join()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers, too
    if process.exitcode not in (0, _WORKER_LOST):
        raise RuntimeError(f"the pipeline failed (exit status {process.exitcode}); its error is above")
    return process.exitcode == _WORKER_LOST


def _run_watched(options: Any, work: Sequence[Any], do: Callable[[Any], None]) -> None:
    os.setsid()
    die_with_parent(group=True)

    def watch(failure: threading.ExceptHookArgs) -> None:
        # Beam's thread that waits for a worker raises this, and nothing catches it.
        if "Worker subprocess exited" in str(failure.exc_value):
            os._exit(_WORKER_LOST)

    threading.excepthook = watch
    _run_pipeline(options, work, do)


def make_items(
    beam: Beam, builder: Builder, config: str, spool: ItemSpool, splits: Mapping[str, Sequence[Item]]
) -> None:
    """Makes all items of a build that the spool lacks."""

    def missing() -> list[tuple[str, int, Item]]:
        return [
            (split, number, item)
            for split, items in splits.items()
            for number, item in enumerate(items)
            if not spool.has(split, number)
        ]

    if missing():
        beam.run(missing, _MakeItem(builder, config, str(spool.folder)))


def prepare_shards(
    beam: Beam,
    dataset: StorePath,
    config: Config,
    codecs_from: StorePath | None,
    kind: str,
    shards: Iterable[int],
) -> None:
    """Writes shards of a sidecar; see `prepare.write_shards`."""
    where = None if codecs_from is None else str(codecs_from)
    # Shards that are there are left alone.
    beam.run(lambda: list(shards), _WriteShard(str(dataset), config, where, kind))


@dataclasses.dataclass(frozen=True)
class _MakeItem:
    builder: Builder
    config: str
    spool_folder: str

    def __call__(self, work: tuple[str, int, Item]) -> None:
        make_item(self.builder, self.config, ItemSpool(as_path(self.spool_folder)), *work)


@dataclasses.dataclass(frozen=True)
class _WriteShard:
    dataset: str
    config: Config
    codecs_from: str | None
    kind: str

    def __call__(self, number: int) -> None:
        derivation = _derivation(self.config, self.codecs_from, self.kind)
        write_shards(as_path(self.dataset), derivation, [number])


_DERIVATIONS: dict[Any, Any] = {}  # of this worker: encoders take seconds to load


def _derivation(config: Config, codecs_from: str | None, kind: str) -> Any:
    key = (config, codecs_from)
    if key not in _DERIVATIONS:
        _DERIVATIONS[key] = {found.kind: found for found in derivations(config, codecs_from)}
    return _DERIVATIONS[key][kind]
