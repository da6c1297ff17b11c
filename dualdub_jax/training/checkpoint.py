"""Checkpoints of a phase: state, data position and config, through orbax."""

import pathlib
from typing import Any

import orbax.checkpoint as ocp

from dualdub_jax.config import CheckpointConfig
from dualdub_jax.tree_paths import check_shapes

PyTree = Any


class PhaseCheckpoints:
    """The checkpoints of one phase, `directory/<step>/`.

    A step folder appears whole or not at all (orbax writes under a temporary name and renames).
    """

    def __init__(self, directory: pathlib.Path, config: CheckpointConfig):
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            # Named, so that a fresh process can read the metadata of what another one wrote.
            item_handlers={"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()},
            options=ocp.CheckpointManagerOptions(
                max_to_keep=config.keep_last,
                # Saving in the background would race the donation of the state by the next step.
                enable_async_checkpointing=False,
            ),
        )

    def latest_step(self) -> int | None:
        """The newest complete checkpoint's step, None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
        """Writes a checkpoint unless this step already has one.

        Args:
            step: steps done.
            state: any tree of arrays.
            meta: JSON: data position, config, phase.
        """
        if step == self._manager.latest_step():
            return
        self._manager.save(
            step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
        )

    def restore(self, abstract_state: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """Reads the newest checkpoint.

        Args:
            abstract_state: tree of `jax.ShapeDtypeStruct` with shardings, those of the mesh in use; they
                need not be those that the checkpoint was written with.

        Returns:
            The state on the mesh, and the JSON saved beside it.

        Raises:
            UserError: the checkpoint's shapes are not those of `abstract_state`.
        """
        step = self.latest_step()
        saved = self._manager.item_metadata(step)["state"]
        check_shapes(abstract_state, saved, str(self._manager.directory / str(step)))
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract_state), meta=ocp.args.JsonRestore()
            ),
        )
        return restored["state"], restored["meta"]

    def close(self) -> None:
        self._manager.close()
