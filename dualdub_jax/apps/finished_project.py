"""What the commands do with a project whose tracks are done: its quality, its files, and a summary."""

import pathlib
import sys
from collections.abc import Sequence

from dualdub_jax.dubbing.delivery import Targets, deliver
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.quality import Quality, check_quality
from dualdub_jax.dubbing.take_ranking import rank_takes, take_table


def deliver_and_report(
    project: Project, targets: Targets, figures: Sequence[tuple[str, str]] = (), command: Sequence[str] = ()
) -> None:
    """Writes the files of a project and prints what was written, with a verdict.

    Words are recognised for a receipt or a report only: that takes about a second an utterance.

    Args:
        project: after `Project.dub`.
        targets: the files.
        figures: measurements of this soundtrack, names and values.
        command: the command line, for the receipt.
    """
    files, quality = deliver_with_quality(project, targets, figures, command)
    _print_summary(project, files, quality)
    for name, value in figures:
        print(f"{name:<36} {value}")


def deliver_with_quality(
    project: Project, targets: Targets, figures: Sequence[tuple[str, str]] = (), command: Sequence[str] = ()
) -> tuple[Sequence[pathlib.Path], Quality]:
    """Writes the files of a project; arguments as of `deliver_and_report`.

    Returns:
        The files that were written, and the quality of the soundtrack.
    """
    recognise, no_recognition = None, "only for --receipt or --report"
    if targets.receipt or targets.report:
        from dualdub_jax.evaluation.run.recognition import find_recogniser

        recognise, no_recognition = find_recogniser()
    quality = check_quality(project, recognise, no_recognition)
    return deliver(project, targets, figures, quality, command), quality


def _print_summary(project: Project, files: Sequence[pathlib.Path], quality: Quality) -> None:
    for warning in project.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if len(project.takes) > 1:
        print(*take_table(project.takes, rank_takes(project.takes)), sep="\n")
        print(f"take {project.chosen} is delivered; --take K --project {project.folder} delivers another")
    print(f"{'total':<18} {sum(project.progress.seconds.values()):6.2f} s")
    print(
        f"{float(project.film.duration_s):.2f} s of film, {project.num_samples} samples a track, "
        f"{len(project.windows)} window(s), generated at {project.realtime_factor:.2f} x realtime"
    )
    for path in files:
        print(f"wrote {path}")
    print(quality.verdict)
    if quality.spoken and quality.no_recognition:
        print(f"words not checked: {quality.no_recognition}")
