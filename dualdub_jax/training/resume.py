"""Differences between a checkpoint and the run that resumes from it: which are accepted, and their record."""

from typing import Any

from dualdub_jax.errors import UserError
from dualdub_jax.parallel import distributed
from dualdub_jax.stores.path import StorePath
from dualdub_jax.training.data_changes import at_same_batch, dataset_changes, recipe_changes
from dualdub_jax.training.metrics import MetricWriter
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.settings import Change, described


def check_length(phase: Phase, step: int, changes: list[Change], folder: StorePath) -> None:
    """Checks that a phase is not shortened below what is trained.

    Args:
        phase: of the run.
        step: of its checkpoint.
        changes: accepted differences of the settings.
        folder: of its checkpoints, for the message.

    Raises:
        UserError: the number of steps was reduced below `step`.
    """
    for change in changes:
        if change.key.endswith("num_steps") and change.new == phase.num_steps < step:
            raise UserError(
                f"{folder}: has a checkpoint of step {step}, but this run has --config.{change.key}="
                f"{change.new}; set it to {step} or more, or remove the later checkpoints"
            )


def resume_data(
    batches: Any,
    saved: dict[str, Any],
    phase: Phase,
    step: int,
    changes: list[Change],
    folder: StorePath,
    writer: MetricWriter,
    *,
    extend: bool,
    accept_changed_data: bool,
) -> None:
    """Moves the batches of an unfinished phase to the position of its checkpoint, and records all changes.

    Changed data or batches are read from the batch of the same number, so step k always takes batch k.

    Args:
        batches: a new iterator of the phase.
        saved: position of the checkpoint.
        phase: of the run.
        step: of the checkpoint.
        changes: accepted differences of the settings.
        folder: of the checkpoints, for messages.
        writer: of events: one "setting_changed" per key, one "data_changed" per dataset.
        extend: whether the recipe may differ.
        accept_changed_data: whether the clips of a dataset may differ.

    Raises:
        UserError: a difference that is not accepted.
    """
    current = batches.get_state()
    datasets = dataset_changes(saved, current)
    if datasets and not accept_changed_data:
        raise UserError(
            f"{folder}: the data have changed since step {step}: {'; '.join(map(str, datasets))}; pass "
            "--config.accept_changed_data=true to continue with the new data, or remove this folder to "
            f"restart {phase.name}"
        )
    of_batches = recipe_changes(saved, current)
    if of_batches and not (changes or extend):
        was, now = described(of_batches)
        raise UserError(
            f"{folder}: its batches were made with {was}, and this run has {now}; add --extend to continue "
            f"with the new ones, or remove this folder to restart {phase.name}"
        )
    batches.set_state(at_same_batch(saved, current))
    for change in changes or of_batches:
        writer.event(phase.name, step, "setting_changed", **change._asdict())
    for dataset in datasets:
        writer.event(phase.name, step, "data_changed", **dataset._asdict())


def note_finished(
    phase: Phase, step: int, saved: dict[str, Any], changes: list[Change], folder: StorePath
) -> None:
    """Prints one line if the settings or data of a finished phase have changed; it is kept as it is."""
    if not distributed.is_first():
        return
    notes = []
    if changes:
        was, now = described(changes)
        notes.append(f"it was trained with {was}, and this run has {now}")
    if saved:
        try:
            batches = phase.make_batches()
        except UserError as error:
            notes.append(f"its data cannot be opened ({error})")
        else:
            notes += map(str, dataset_changes(saved, batches.get_state()))
            batches.close()
    if notes:
        print(f"{folder}: finished at step {step} and kept, although {'; '.join(notes)}", flush=True)
