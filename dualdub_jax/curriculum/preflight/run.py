"""The check of a run before its first step; `dualdub train --check` does nothing else."""

import time
from collections.abc import Sequence

from dualdub_jax.config import Config
from dualdub_jax.curriculum import init_from
from dualdub_jax.curriculum.phase_names import phase_names, prerequisites
from dualdub_jax.curriculum.preflight.labels import check_labels
from dualdub_jax.curriculum.preflight.parts import Parts, check_parts
from dualdub_jax.curriculum.preflight.phases import PhaseSize, construct_phases
from dualdub_jax.curriculum.preflight.problems import Problems
from dualdub_jax.curriculum.preflight.records import check_samples, open_sources
from dualdub_jax.curriculum.preflight.storage import check_disk, check_writable
from dualdub_jax.curriculum.preflight.uses import uses_of
from dualdub_jax.curriculum.preflight.values import check_values
from dualdub_jax.data_pipeline.record_check import Findings
from dualdub_jax.errors import UserError, UserErrors
from dualdub_jax.parallel import distributed
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.stores.path import StorePath
from dualdub_jax.training.checkpoint import newest_step

_TASKS = ("soundtrack", "casp")
_MAX_NAMED = 3  # bad records of a dataset


def check_run(
    config: Config, workdir: StorePath, phases: Sequence[str] | None = None, *, extend: bool = False
) -> None:
    """Checks all that a run reads and writes: config, parts, datasets, labels, disk.

    Data of phases that are complete are not needed, and not checked. Prints a summary, and writes no files.

    Args:
        config: of the run.
        workdir: of the run; need not exist.
        phases: that are to be trained; None: all.
        extend: see `program.train`.

    Raises:
        UserErrors: all problems that were found; with several processes, those of all, in each.
    """
    started = time.monotonic()
    if config.task not in _TASKS:
        raise UserError(f"config.task: {config.task!r} is none of {', '.join(_TASKS)}")
    problems = Problems()
    check_values(config, problems)
    parts = check_parts(config, problems)
    with problems.noted():
        check_writable(workdir)
    lines = _check_phases(config, workdir, phases, parts, problems, extend)
    everyone = [message for messages in distributed.gather_json(problems.messages) for message in messages]
    if everyone:
        raise UserErrors(everyone)
    if distributed.is_first():
        print(f"checked the run in {time.monotonic() - started:.0f} s", *lines, sep="\n  ", flush=True)


def _check_phases(
    config: Config,
    workdir: StorePath,
    phases: Sequence[str] | None,
    parts: Parts,
    problems: Problems,
    extend: bool,
) -> list[str]:
    """Checks what depends on the phases that are to be trained; returns lines of a summary."""
    wanted: set[str] = set()
    with problems.noted():
        wanted = _wanted(config, phases)
    # Phases are constructed of sound parts only; datasets are looked for in any case.
    is_sound = not problems.messages
    public: list[str] = []
    with problems.noted():
        if init_from.is_read(config, workdir, wanted):
            public = init_from.check_backbone(config)

    def is_complete(phase: str, num_steps: int | None) -> bool:
        newest = newest_step(workdir / phase)
        return newest is not None and num_steps in (newest, None)

    sizes: list[PhaseSize] = []
    with problems.noted():
        mesh = make_mesh(config.mesh)
        if is_sound:
            sizes = construct_phases(config, mesh, wanted, workdir, problems, extend=extend)
    lengths = {size.name: size.num_steps for size in sizes}
    pending = {name for name in wanted if not is_complete(name, lengths.get(name))}
    if phases is not None and is_sound:
        for name, needed in prerequisites(config).items():
            missing = [other for other in needed if not is_complete(other, lengths.get(other))]
            if name in pending and set(missing) - wanted:
                first = next(other for other in missing if other not in wanted)
                problems.add(
                    f"--phases {name}: builds on {first}, which is not trained yet; add {first} to --phases, "
                    "or leave --phases out"
                )
    uses = [use for use in uses_of(config, parts.tokenizer, problems) if pending & set(use.phases)]
    opened = open_sources(config, uses, problems)
    # Other processes would find the same.
    if not is_sound or not distributed.is_first():
        return []
    findings = check_samples(config, uses, opened, problems)
    notes = check_labels(config, uses, findings, parts.initial, problems)
    lines = [f"{name}: {_counts(found)}" for name, found in findings.items()]
    lines += [f"{bad.id}: {bad.reason}" for found in findings.values() for bad in found.bad[:_MAX_NAMED]]
    with problems.noted():
        lines.append(check_disk(workdir, config, [size for size in sizes if size.name in pending]))
    lines += [f"init_from.backbone: {line}" for line in public]
    return [*lines, *(f"note: {note}" for note in notes)]


def _wanted(config: Config, phases: Sequence[str] | None) -> set[str]:
    known = phase_names(config)
    for name in phases or ():
        if name not in known:
            raise UserError(f"--phases {name}: no such phase; this config has {', '.join(known)}")
    return set(phases or known)


def _counts(found: Findings) -> str:
    labels = ", ".join(f"{label} {count}" for label, count in sorted(found.labels.items()))
    return (
        f"{found.num_records} records, {found.num_checked} checked, {len(found.bad)} of them cannot be used; "
        f"with {labels or 'nothing to train on'}"
    )
