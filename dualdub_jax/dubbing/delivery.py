"""Delivery: the files that the user gets of a finished project, all of them or none.

The film with the mix as its sound; on request the stems, a receipt and a report.
"""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

from dualdub_jax.dubbing.project import TRACKS, Project
from dualdub_jax.dubbing.quality import Quality, check_quality
from dualdub_jax.dubbing.receipt import make_receipt
from dualdub_jax.errors import UserError
from dualdub_jax.media.film import Film
from dualdub_jax.media.mux import mux_soundtrack
from dualdub_jax.media.outputs import Outputs, check_names, check_outputs
from dualdub_jax.media.track import Track
from dualdub_jax.stores.path import as_local_path

_LEAST_STEM_BYTES_PER_S = 32_000  # 16 bits at 16 kHz


@dataclasses.dataclass(frozen=True)
class Targets:
    """The files that a job will write; None: not requested.

    Attributes:
        out: the film with the mix as its sound; the suffix chooses the container.
        stems: a folder for `speech.wav`, `background.wav` and `mix.wav`; made if need be.
        receipt: a JSON file, see `receipt`.
        report: an HTML page, see `report`.
    """

    out: pathlib.Path
    stems: pathlib.Path | None = None
    receipt: pathlib.Path | None = None
    report: pathlib.Path | None = None

    @classmethod
    def make(cls, out: Any, stems: Any = None, receipt: Any = None, report: Any = None) -> "Targets":
        """From anything that names a path; a `UserError` if it is a URL."""
        return cls(*(None if path is None else as_local_path(path) for path in (out, stems, receipt, report)))

    @property
    def files(self) -> list[pathlib.Path]:
        """All files, in the order in which they are listed to the user."""
        stems = [self.stems / f"{name}.wav" for name in TRACKS] if self.stems else []
        return [path for path in (self.out, *stems, self.receipt, self.report) if path]

    def check(self, inputs: Iterable[pathlib.Path]) -> None:
        """Checks, before any work, that all files can be written and none overwrites an input.

        The stems' folder need not exist yet, but its parent must.

        Raises:
            UserError: as `check_outputs`.
        """
        files = self.files
        check_names(files, inputs)
        if self.stems and not os.path.lexists(self.stems):
            # The folder is checked in place of its files: if its parent is writable, it can be made.
            files = [path for path in files if path.parent != self.stems] + [self.stems]
        elif self.stems and not os.path.isdir(self.stems):
            raise UserError(f"{self.stems}: is a file, but the stems need a folder; give another name")
        check_outputs(files, inputs)

    def check_space(self, film: Film) -> None:
        """Checks, before any work, that the disk holds the film's copy and the stems.

        Raises:
            UserError: it does not.
        """
        needed = {self.out.parent: film.path.stat().st_size}
        if self.stems:
            stems = round(len(TRACKS) * film.duration_s * _LEAST_STEM_BYTES_PER_S)
            needed[self.stems.parent] = needed.get(self.stems.parent, 0) + stems
        for folder, num_bytes in needed.items():
            free = shutil.disk_usage(folder).free
            if free < num_bytes:
                raise UserError(
                    f"{folder}: {free / 1e6:.0f} MB of its disk are free, but this film needs "
                    f"{num_bytes / 1e6:.0f} MB; free some space or write elsewhere"
                )


def deliver(
    project: Project,
    targets: Targets,
    figures: Sequence[tuple[str, str]] = (),
    quality: Quality | None = None,
    command: Sequence[str] = (),
) -> list[pathlib.Path]:
    """Writes the requested files of a project whose tracks are complete.

    Args:
        project: after `Project.dub`; its progress measures the steps "write" and "report".
        targets: the files.
        figures: measurements of this soundtrack, names and values, for the report.
        quality: of this soundtrack; None: it is measured here, without a recogniser, if a receipt or a report
            is requested.
        command: the command line, for the receipt.

    Returns:
        The files that were written.

    Raises:
        UserError: something cannot be written, or the container cannot hold the video.
    """
    progress = project.progress
    if quality is None and (targets.receipt or targets.report):
        quality = check_quality(project)
    with Outputs() as outputs:
        with progress.step("write") as advance:
            with outputs.open(targets.out) as file:
                project.losses = mux_soundtrack(
                    project.film, project.tracks["mix"], project.sample_rate_hz, targets.out, file
                )
            advance(0.8)
            if targets.stems:
                outputs.make_folder(targets.stems)
                for name in TRACKS:
                    with outputs.open(targets.stems / f"{name}.wav") as file:
                        copy_track(project.tracks[name], file)
            advance(1.0)
        if targets.receipt:
            receipt = json.dumps(make_receipt(project, quality, command), indent=2)
            with outputs.open(targets.receipt) as file:
                file.write(receipt.encode("utf-8") + b"\n")
        if targets.report:
            from dualdub_jax.dubbing.report import MAX_EMBEDDED_BYTES, render_report

            with progress.step("report"):
                sizes = outputs.sizes
                is_small = sizes[targets.out] <= MAX_EMBEDDED_BYTES
                film_bytes = outputs.read(targets.out) if is_small else None
                page = render_report(project, targets.out, film_bytes, sizes, quality, figures)
                with outputs.open(targets.report) as file:
                    file.write(page.encode("utf-8", errors="backslashreplace"))  # names may be bytes
        outputs.commit()
    return targets.files


def copy_track(track: Track, file: BinaryIO) -> None:
    """Copies a finished track's WAV file."""
    with track.path.open("rb") as source:
        shutil.copyfileobj(source, file)
