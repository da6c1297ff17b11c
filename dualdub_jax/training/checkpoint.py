"""Checkpoints of a phase through orbax: state, data position and settings.

    DIRECTORY/<step>/state/        orbax: the arrays
    DIRECTORY/<step>/meta/         JSON: data position, settings, fingerprints of the arrays, held-out loss
    DIRECTORY/<step>.unreadable/   a damaged checkpoint, set aside by a run

Writes are atomic: orbax writes under a temporary name and renames, or on an object store marks a complete
checkpoint by `commit_success.txt`. A killed process leaves the previous checkpoints intact, and old
checkpoints are removed only once a new one is complete.
"""

import contextlib
import dataclasses
import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from dualdub_jax.checkpoints import orbax_tree
from dualdub_jax.checkpoints.damage import damage_named
from dualdub_jax.checkpoints.tree_paths import check_shapes, path_name
from dualdub_jax.config import CheckpointConfig
from dualdub_jax.errors import UserError
from dualdub_jax.parallel import distributed
from dualdub_jax.stores.commit import move_folder
from dualdub_jax.stores.failures import is_outage, store_errors
from dualdub_jax.stores.path import StorePath, is_remote
from dualdub_jax.training.fingerprint import differing, fingerprint
from dualdub_jax.training.settings import Change, described

PyTree = Any  # a phase's state or a part of it: arrays, or shapes with shardings

# Compares a checkpoint's metadata with the run: returns accepted changes of settings, or raises `UserError`.
Check = Callable[[dict[str, Any]], Sequence[Change]]

_STATE, _META = "state", "meta"
_COMMITTED = "commit_success.txt"  # orbax's marker of a complete checkpoint on an object store
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# The same conditions in messages of the array store, whose errors have no errno.
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "File too large", "RESOURCE_EXHAUSTED")


class Restored(NamedTuple):
    """A restored checkpoint: number of completed steps, state on the mesh, and JSON metadata."""

    step: int
    state: PyTree
    meta: dict[str, Any]


class BestMark(NamedTuple):
    """A step and its held-out loss; losses are comparable if their sets, by digest, are equal."""

    step: int
    loss: float
    set: str

    def is_better_than(self, other: "BestMark | None") -> bool:
        return other is None or self.set != other.set or self.loss < other.loss


def best_mark(directory: StorePath) -> BestMark | None:
    """The checkpoint of the lowest held-out loss on the newest set; None if no checkpoint has one."""
    best = None
    for step in sorted(_steps(directory)):
        try:
            meta = ocp.JsonCheckpointHandler().restore(orbax_tree.addressable(directory) / str(step) / _META)
        except (OSError, ValueError):  # damaged: `PhaseCheckpoints.restore` reports it
            continue
        mark = BestMark(step, **meta["held_out"]) if "held_out" in meta else None
        if mark is not None and mark.is_better_than(best):
            best = mark
    return best


def newest_step(directory: StorePath) -> int | None:
    """The step of the newest complete checkpoint, None without one; safe during concurrent writes."""
    return max(_steps(directory), default=None)


def saved_settings(directory: StorePath) -> dict[str, Any] | None:
    """The settings that the newest checkpoint of a phase was trained with; None: no readable one."""
    step = newest_step(directory)
    if step is None:
        return None
    try:
        folder = orbax_tree.addressable(directory) / str(step)
        return ocp.JsonCheckpointHandler().restore(folder / _META)["settings"]
    except (OSError, ValueError, KeyError):
        return None  # a run sets it aside


def read_part(
    folder: StorePath,
    abstract_part: PyTree,
    check: Check = lambda meta: (),
    scratch: Sequence[str] = (),
) -> Restored:
    """Restores a checkpoint's state, or a part of it, without modifying the folder.

    Args:
        folder: of one step.
        abstract_part: the state's tree, or some of its top-level entries as a dictionary: leaves are
            `jax.ShapeDtypeStruct` with shardings.
        check: of the metadata, before the shapes.
        scratch: paths of arrays that are read in the shapes of the checkpoint.

    Raises:
        UserError: the checkpoint is incomplete or damaged, or has other shapes, or as `check`.
    """
    folder = orbax_tree.addressable(folder)
    with _read_whole(folder):
        saved = orbax_tree.read_shapes(folder / _STATE)
        meta = ocp.JsonCheckpointHandler().restore(folder / _META)
    check(meta)
    abstract_part = _in_saved_shapes(abstract_part, saved, scratch)
    check_shapes(abstract_part, _same_part(saved, abstract_part), str(folder))
    args = ocp.args.PyTreeRestore(
        item=abstract_part,
        restore_args=ocp.checkpoint_utils.construct_restore_args(abstract_part),
        partial_restore=True,
    )
    with _read_whole(folder):
        part = ocp.PyTreeCheckpointHandler().restore(folder / _STATE, args=args)
        if damaged := differing(meta.get("fingerprints", {}), part):
            raise _UnreadableError(f"{damaged[0]} differs from its fingerprint")
    return Restored(int(folder.name), part, meta)


class PhaseCheckpoints:
    """The checkpoints of one phase. Every process must call the same methods in the same order."""

    def __init__(self, directory: StorePath, config: CheckpointConfig):
        self._directory = orbax_tree.addressable(directory)
        self._config = config
        self._manager: ocp.CheckpointManager | None = None
        self._newest: int | None = None
        self._best: BestMark | None = None

    @property
    def best(self) -> BestMark | None:
        """The checkpoint of the lowest held-out loss, which is kept."""
        return self._best

    def save(self, step: int, state: PyTree, meta: dict[str, Any], mark: BestMark | None = None) -> None:
        """Writes a checkpoint unless this step already has one; asynchronously if so configured.

        On return, `state` is copied, or referenced such that the runtime copies it before a donating step
        overwrites it.

        Args:
            step: number of completed steps.
            state: any tree of arrays, none of them donated yet.
            meta: JSON: data position, settings.
            mark: of this step, if its held-out loss was measured.

        Raises:
            UserError: the disk is full, now or during the previous asynchronous write.
        """
        if step == self._newest:
            return
        meta = meta | {"fingerprints": fingerprint(state)}
        if mark is not None:
            meta["held_out"] = {"loss": mark.loss, "set": mark.set}
            self._best = mark if mark.is_better_than(self._best) else self._best
        with self._full_disk_named():
            self._open().save(
                step,
                args=ocp.args.Composite(state=ocp.args.PyTreeSave(state), meta=ocp.args.JsonSave(meta)),
            )
        self._newest = step

    def check(self) -> None:
        """Raises errors of asynchronous writes, as `save`; does not wait."""
        if self._manager is not None:
            with self._full_disk_named():
                self._manager.check_for_errors()

    def wait(self) -> None:
        """Waits until all checkpoints are on disk; raises as `save`."""
        if self._manager is not None:
            with self._full_disk_named():
                self._manager.wait_until_finished()
                self._manager.check_for_errors()

    def restore(
        self, abstract_state: PyTree, check: Check = lambda meta: (), scratch: Sequence[str] = ()
    ) -> Restored | None:
        """Restores the newest readable checkpoint; None if there is no checkpoint.

        A damaged checkpoint (missing or truncated files, arrays that differ from their fingerprints) is
        reported on standard output and set aside as `<step>.unreadable`.

        Args:
            abstract_state: tree of `jax.ShapeDtypeStruct` with shardings on the mesh in use, which may differ
                from those at the time of writing.
            check: compares the metadata before the shapes; returns accepted changes of the settings, or
                raises a `UserError`.
            scratch: paths of arrays that are zero where their shape differs from the checkpoint's.

        Raises:
            UserError: the checkpoint has other shapes than `abstract_state` (the message names the settings
                that were changed), or all checkpoints are damaged.
        """
        steps = sorted(_steps(self._directory), reverse=True)
        for step in steps:
            try:
                restored = self._read(step, abstract_state, check, scratch)
            except _UnreadableError as error:
                self._set_aside(step, str(error))
            else:
                self._newest = step
                self._best = best_mark(self._directory)
                return restored
        if steps:
            raise UserError(
                f"{self._directory}: none of its {len(steps)} checkpoints can be read; "
                "move the folder away to restart this phase"
            )
        return None

    def abandon(self) -> None:
        """Drops the manager without waiting; a checkpoint being written may stay incomplete."""
        self._manager = None

    def close(self) -> None:
        """Waits for pending writes and closes the manager; raises as `save`."""
        if self._manager is not None:
            manager, self._manager = self._manager, None
            with self._full_disk_named():
                manager.close()

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            keep = [
                checkpoint_managers.LatestN(max(self._config.keep_last, 1)),
                _KeepBest(lambda: self._best),
            ]
            if self._config.keep_every_steps:
                keep.append(checkpoint_managers.EveryNSteps(self._config.keep_every_steps))
            self._manager = ocp.CheckpointManager(
                self._directory,
                item_handlers={
                    # Trained floats hardly compress, and zstd would take processor time from the step.
                    _STATE: ocp.PyTreeCheckpointHandler(use_compression=False),
                    _META: ocp.JsonCheckpointHandler(),
                },
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=checkpoint_managers.AnyPreservationPolicy(keep),
                    # Removes leftovers of a killed run. The manager is opened for writing only, so a reader
                    # never removes what another run is writing.
                    cleanup_tmp_directories=True,
                    enable_async_checkpointing=self._config.use_async,
                ),
            )
        return self._manager

    def _read(self, step: int, abstract_state: PyTree, check: Check, scratch: Sequence[str]) -> Restored:
        folder = self._directory / str(step)
        # The handlers are used directly: orbax's checkpointer synchronises processes, and would deadlock if
        # only one of them finds damage in its files.
        meta = _everywhere(folder, lambda: ocp.JsonCheckpointHandler().restore(folder / _META))
        changes = check(meta)
        saved = _everywhere(folder, lambda: orbax_tree.read_shapes(folder / _STATE))
        readable = _in_saved_shapes(abstract_state, saved, scratch)
        try:
            check_shapes(readable, saved, str(folder))
        except UserError as error:
            if not changes:
                raise
            was, now = described(changes)
            raise UserError(
                f"{folder}: was trained with {was}, and {now} changes the arrays of its state ({error}); "
                "pass the old value, or another --workdir"
            ) from None
        state = _everywhere(folder, lambda: orbax_tree.read(folder / _STATE, readable))
        # Checkpoints of older versions have no fingerprints and are accepted.
        if damaged := differing(meta.get("fingerprints", {}), state):
            raise _UnreadableError(f"{damaged[0]} differs from its fingerprint")
        return Restored(step, jax.tree.map(_in_shape, state, abstract_state), meta)

    def _set_aside(self, step: int, reason: str) -> None:
        folder = self._directory / str(step)
        aside = folder.with_name(f"{step}.unreadable")
        if distributed.is_first():
            print(
                f"{folder}: this checkpoint cannot be read ({' '.join(reason.split())[:300]}); "
                f"it is set aside as {aside.name}, and the previous one is used",
                flush=True,
            )
            if is_remote(folder):
                # Copied and then removed: damaged, but with its marker, or orbax would remove it as
                # incomplete.
                move_folder(folder, aside, _COMMITTED)
            else:
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)
        distributed.barrier(f"set aside {folder}")

    @contextlib.contextmanager
    def _full_disk_named(self) -> Iterator[None]:
        try:
            with store_errors(self._directory):
                yield
        except Exception as error:
            if not is_full_disk(error):
                raise
            kept = newest_step(self._directory)
            raise UserError(
                f"{self._directory}: the disk is full; "
                + (f"the checkpoint of step {kept} is complete; " if kept is not None else "")
                + "free some space and rerun the command to resume"
            ) from error


@dataclasses.dataclass(frozen=True)
class _KeepBest(checkpoint_managers.PreservationPolicy):
    """Preserves the step of a mark."""

    best: Callable[[], BestMark | None]

    def should_preserve(
        self,
        checkpoints: Sequence[checkpoint_managers.PolicyCheckpointInfo],
        *,
        context: checkpoint_managers.PreservationContext,
    ) -> Sequence[bool]:
        mark = self.best()
        return [mark is not None and info.step == mark.step for info in checkpoints]


class _UnreadableError(Exception):
    """A damaged checkpoint; the message names the damage."""


def _steps(directory: StorePath) -> list[int]:
    # Other names are temporary folders, or checkpoints set aside.
    if not is_remote(directory):
        return [int(path.name) for path in directory.glob("*") if path.name.isdigit() and path.is_dir()]
    with store_errors(directory):
        names = [name for name in _names_in(directory) if name.isdigit()]
        return [int(name) for name in names if (directory / name / _COMMITTED).is_file()]


def _names_in(directory: StorePath) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except FileNotFoundError:  # a folder without objects does not exist
        return []


def _in_saved_shapes(abstract: PyTree, saved: PyTree, scratch: Sequence[str]) -> PyTree:
    """`abstract`, where the arrays at some paths have the shapes of the checkpoint."""
    shapes = {path_name(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(saved)}

    def resized(path: tuple[Any, ...], want: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        name = path_name(path)
        if name not in scratch or name not in shapes:
            return want
        return jax.ShapeDtypeStruct(tuple(shapes[name]), want.dtype, sharding=want.sharding)

    return jax.tree.map_with_path(resized, abstract)


def _in_shape(x: jax.Array, want: jax.ShapeDtypeStruct) -> jax.Array:
    """`x`, or zeros where its shape differs."""
    return x if x.shape == want.shape else jnp.zeros(want.shape, want.dtype, device=want.sharding)


def _same_part(saved: PyTree, part: PyTree) -> PyTree:
    """The top-level entries of `saved` that `part` has too; all, if `part` is no dictionary."""
    return {name: saved[name] for name in part if name in saved} if isinstance(part, dict) else saved


@contextlib.contextmanager
def _read_whole(folder: StorePath) -> Iterator[None]:
    with damage_named(f"{folder}: this checkpoint", "name an earlier step"), store_errors(folder):
        yield


def _everywhere(folder: StorePath, read: Any) -> Any:
    """The result of `read()`, from a folder; raises on every process if it fails on any."""
    result, problem, is_damage = None, "", True
    try:
        result = read()
    except Exception as error:  # damaged bytes cause exceptions of any type
        problem, is_damage = f"{type(error).__name__}: {error}", not (is_remote(folder) and is_outage(error))
    problems = [each for each in distributed.gather_json([problem, is_damage]) if each[0]]
    for text, is_damage in sorted(problems, key=lambda each: each[1]):
        if is_damage:
            raise _UnreadableError(text)
        # A store that does not answer says nothing about the checkpoint.
        raise UserError(
            f"{folder}: cannot be read ({' '.join(text.split())[:200]}); check network and credentials"
        )
    return result


def is_full_disk(error: BaseException | None) -> bool:
    """True if an error or one of its causes is that of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(text in str(error) for text in _FULL_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False
