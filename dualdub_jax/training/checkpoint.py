"""Checkpoints of a phase: state, data position and settings, through orbax; written and read with care.

    DIRECTORY/<step>/state/        orbax: the arrays
    DIRECTORY/<step>/meta/         JSON: data position, settings, fingerprints of the arrays
    DIRECTORY/<step>.unreadable/   a damaged one that a run has passed over

A step folder appears whole or not at all: orbax writes under a temporary name and renames, so that being
killed at any moment leaves the checkpoints of before. Old ones are removed only when a new one is whole.
"""

import contextlib
import errno
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from dualdub_jax.checkpoints.damage import damage_named
from dualdub_jax.checkpoints.tree_paths import check_shapes
from dualdub_jax.config import CheckpointConfig
from dualdub_jax.errors import UserError
from dualdub_jax.parallel import distributed
from dualdub_jax.training.fingerprint import differing, fingerprint

PyTree = Any

_STATE, _META = "state", "meta"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# How the array store words the same, in errors that carry no number.
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "File too large", "RESOURCE_EXHAUSTED")


class Restored(NamedTuple):
    """What a checkpoint holds: steps done, the state on the mesh, and the JSON beside it."""

    step: int
    state: PyTree
    meta: dict[str, Any]


def newest_step(directory: pathlib.Path) -> int | None:
    """The newest whole checkpoint's step, None if there is none; only looks, whoever is writing there."""
    return max(_steps(directory), default=None)


def read_part(folder: pathlib.Path, abstract_part: PyTree) -> Restored:
    """Reads some of a checkpoint's arrays, and only them; the folder is left as it is.

    Args:
        folder: of one step.
        abstract_part: a part of the state's tree: nested dictionaries of `jax.ShapeDtypeStruct` with
            shardings.

    Raises:
        UserError: not a whole checkpoint, or not of these shapes.
    """
    folder = folder.absolute()
    with _read_whole(folder):
        saved = _read_shapes(folder / _STATE)
        meta = ocp.JsonCheckpointHandler().restore(folder / _META)
    check_shapes(abstract_part, _same_part(saved, abstract_part), str(folder))
    args = ocp.args.PyTreeRestore(
        item=abstract_part,
        restore_args=ocp.checkpoint_utils.construct_restore_args(abstract_part),
        partial_restore=True,
    )
    with _read_whole(folder):
        part = ocp.PyTreeCheckpointHandler().restore(folder / _STATE, args=args)
        if damaged := differing(meta.get("fingerprints", {}), part):
            raise _UnreadableError(f"{damaged[0]} is not what was written")
    return Restored(int(folder.name), part, meta)


class PhaseCheckpoints:
    """The checkpoints of one phase. With several processes, each calls every method, in the same order."""

    def __init__(self, directory: pathlib.Path, config: CheckpointConfig):
        self._directory = directory.absolute()
        self._config = config
        self._manager: ocp.CheckpointManager | None = None
        self._newest: int | None = None

    def save(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
        """Writes a checkpoint unless this step already has one; in the background if the config says so.

        When it returns, `state` is copied, or held in a way that makes the runtime copy it before a donating
        step can overwrite it.

        Args:
            step: steps done.
            state: any tree of arrays, none of them donated yet.
            meta: JSON: data position, settings.

        Raises:
            UserError: the disk is full (also: has become so while the one before was written).
        """
        if step == self._newest:
            return
        meta = meta | {"fingerprints": fingerprint(state)}
        with self._full_disk_named():
            self._open().save(
                step,
                args=ocp.args.Composite(state=ocp.args.PyTreeSave(state), meta=ocp.args.JsonSave(meta)),
            )
        self._newest = step

    def check(self) -> None:
        """Raises what has gone wrong in the background, as `save`; does not wait."""
        if self._manager is not None:
            with self._full_disk_named():
                self._manager.check_for_errors()

    def wait(self) -> None:
        """Returns when what was saved is on disk; raises as `save`."""
        if self._manager is not None:
            with self._full_disk_named():
                self._manager.wait_until_finished()
                self._manager.check_for_errors()

    def restore(self, abstract_state: PyTree) -> Restored | None:
        """Reads the newest checkpoint that can be read; None if there is none at all.

        One that cannot (files missing or cut short, arrays that are not what was written) is named on
        standard output and set aside as `<step>.unreadable`.

        Args:
            abstract_state: tree of `jax.ShapeDtypeStruct` with shardings, those of the mesh in use; they
                need not be those that the checkpoint was written with.

        Raises:
            UserError: the checkpoint's shapes are not those of `abstract_state`; or there are checkpoints,
                and none can be read.
        """
        steps = sorted(_steps(self._directory), reverse=True)
        for step in steps:
            try:
                restored = self._read(step, abstract_state)
            except _UnreadableError as error:
                self._set_aside(step, str(error))
            else:
                self._newest = step
                return restored
        if steps:
            raise UserError(
                f"{self._directory}: none of its {len(steps)} checkpoints can be read; "
                "move the folder away to train this phase from its beginning"
            )
        return None

    def abandon(self) -> None:
        """Lets go without waiting; what is being written may never be whole."""
        self._manager = None

    def close(self) -> None:
        """Waits for what is being written, and lets go."""
        if self._manager is not None:
            manager, self._manager = self._manager, None
            with self._full_disk_named():
                manager.close()

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            keep = [checkpoint_managers.LatestN(max(self._config.keep_last, 1))]
            if self._config.keep_every_steps:
                keep.append(checkpoint_managers.EveryNSteps(self._config.keep_every_steps))
            self._manager = ocp.CheckpointManager(
                self._directory,
                item_handlers={
                    # Trained floats hardly compress: zstd would take the processor from the step.
                    _STATE: ocp.PyTreeCheckpointHandler(use_compression=False),
                    _META: ocp.JsonCheckpointHandler(),
                },
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=checkpoint_managers.AnyPreservationPolicy(keep),
                    # What a run left that was killed while it wrote. Opened only to write, so that nobody
                    # who only looks removes what another run is writing.
                    cleanup_tmp_directories=True,
                    enable_async_checkpointing=self._config.use_async,
                ),
            )
        return self._manager

    def _read(self, step: int, abstract_state: PyTree) -> Restored:
        folder = self._directory / str(step)
        saved = _everywhere(lambda: _read_shapes(folder / _STATE))
        check_shapes(abstract_state, saved, str(folder))
        # The handlers, and not orbax's checkpointer around them: it waits for the other processes, which
        # would wait forever for one that has met damage in its part of the files.
        meta = _everywhere(lambda: ocp.JsonCheckpointHandler().restore(folder / _META))
        args = ocp.args.StandardRestore(abstract_state)
        state = _everywhere(lambda: ocp.StandardCheckpointHandler().restore(folder / _STATE, args=args))
        # Checkpoints of before have none, and are believed.
        if damaged := differing(meta.get("fingerprints", {}), state):
            raise _UnreadableError(f"{damaged[0]} is not what was written")
        return Restored(step, state, meta)

    def _set_aside(self, step: int, reason: str) -> None:
        folder = self._directory / str(step)
        aside = folder.with_name(f"{step}.unreadable")
        if distributed.is_first():
            print(
                f"{folder}: this checkpoint cannot be read ({' '.join(reason.split())[:300]}); "
                f"it is set aside as {aside.name}, and the one before is taken",
                flush=True,
            )
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        distributed.barrier(f"set aside {folder}")

    @contextlib.contextmanager
    def _full_disk_named(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not is_full_disk(error):
                raise
            kept = newest_step(self._directory)
            raise UserError(
                f"{self._directory}: the disk is full; "
                + (f"the checkpoint of step {kept} is whole; " if kept is not None else "")
                + "make room and run the same command to go on"
            ) from error


class _UnreadableError(Exception):
    """A checkpoint that is damaged; the text says where."""


def _steps(directory: pathlib.Path) -> list[int]:
    # Anything but a number is a temporary folder, or one set aside.
    return [int(path.name) for path in directory.glob("*") if path.name.isdigit() and path.is_dir()]


def _read_shapes(folder: pathlib.Path) -> PyTree:
    saved = ocp.StandardCheckpointHandler().metadata(folder).tree
    if saved is None:
        raise FileNotFoundError(f"{folder} has no list of its arrays")
    return saved


def _same_part(saved: PyTree, part: PyTree) -> PyTree:
    """The top level's entries of `saved` that `part` has too."""
    return {name: saved[name] for name in part if name in saved}


def _read_whole(folder: pathlib.Path) -> contextlib.AbstractContextManager[None]:
    return damage_named(f"{folder}: this checkpoint", "name an earlier step")


def _everywhere(read: Any) -> Any:
    """What `read()` gives, if it gives something on every process; else an error on every process."""
    result, problem = None, ""
    try:
        result = read()
    except Exception as error:  # whatever damaged bytes make the libraries raise
        problem = f"{type(error).__name__}: {error}"
    problems = [text for text in distributed.gather_json(problem) if text]
    if problems:
        raise _UnreadableError(problems[0])
    return result


def is_full_disk(error: BaseException | None) -> bool:
    """True if an error, or what it came from, is that of a disk without room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(text in str(error) for text in _FULL_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False
