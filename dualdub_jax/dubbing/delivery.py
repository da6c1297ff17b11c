"""Delivery: the files that the user gets of a finished project, all of them or none.

The film with its new tracks; on request the stems, subtitles, a receipt and a report.
"""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from dualdub_jax.config.streams import STREAMS
from dualdub_jax.dubbing.mixdown import MIX
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.quality import Quality, check_quality
from dualdub_jax.dubbing.receipt import make_receipt
from dualdub_jax.dubbing.request import check_whole
from dualdub_jax.dubbing.spoken_subtitles import SUFFIXES, spoken_lines, subtitle_file
from dualdub_jax.dubbing.stem_files import write_stem_files
from dualdub_jax.dubbing.stems import ORIGINAL
from dualdub_jax.errors import UserError
from dualdub_jax.media.film import Film
from dualdub_jax.media.language import check_language
from dualdub_jax.media.mux import mux_soundtrack
from dualdub_jax.media.new_tracks import AudioTrack, NewTracks, SubtitleTrack
from dualdub_jax.media.outputs import Outputs, check_names, check_outputs
from dualdub_jax.stores.path import as_local_path

TRACKS = (*STREAMS, ORIGINAL, MIX)  # all that a project may have
_LEAST_RATE_HZ = 16_000  # of stems, for an estimate of their size
_RATES_HZ = (8_000, 192_000)


@dataclasses.dataclass(frozen=True)
class Targets:
    """The files that a job will write; None: not requested.

    Attributes:
        out: the film with its new tracks; the suffix chooses the container.
        stems: a folder for `speech.wav`, `background.wav`, `mix.wav` and, if sound is kept, `original.wav`;
            made if need be.
        receipt: a JSON file, see `receipt`.
        report: an HTML page, see `report`.
        subtitles: subtitle files of what is spoken, `.srt`, `.vtt` or `.ass`; True: a track of `out`.
        stem_rate: sample rate of the stems' files, Hz; None: the rate of the mix.
        audio_tracks: what `out` holds as audio tracks, in this order, by name: "mix", "speech", "background",
            "original". The mix, or else the first one, is played by default.
        language: of the speech, for players' menus: ISO 639 or BCP 47; None: not stated.
    """

    out: pathlib.Path
    stems: pathlib.Path | None = None
    receipt: pathlib.Path | None = None
    report: pathlib.Path | None = None
    subtitles: tuple[pathlib.Path | bool, ...] = ()
    stem_rate: int | None = None
    audio_tracks: tuple[str, ...] = (MIX,)
    language: str | None = None

    @classmethod
    def make(
        cls,
        out: Any,
        stems: Any = None,
        receipt: Any = None,
        report: Any = None,
        subtitles: Any = None,
        **settings: Any,
    ) -> "Targets":
        """From anything that names a path; a `UserError` if it is a URL.

        Args:
            out, stems, receipt, report: paths.
            subtitles: True, a path, or several of these.
            settings: the other attributes; `audio_tracks` also as "mix,speech".
        """
        tracks = settings.get("audio_tracks")
        if isinstance(tracks, str):
            settings["audio_tracks"] = tuple(name.strip() for name in tracks.split(","))
        several = subtitles if isinstance(subtitles, list | tuple) else [subtitles]
        return cls(
            *(None if path is None else as_local_path(path) for path in (out, stems, receipt, report)),
            tuple(one if one is True else as_local_path(one) for one in several if one),
            **settings,
        )

    @property
    def subtitle_files(self) -> list[pathlib.Path]:
        """Those of `subtitles` that are files."""
        return [path for path in self.subtitles if path is not True]

    def files(self, tracks: Iterable[str] = TRACKS) -> list[pathlib.Path]:
        """All files, in the order in which they are listed to the user; `tracks` are those of the project."""
        stems = [self.stems / f"{name}.wav" for name in tracks] if self.stems else []
        return [path for path in (self.out, *stems, *self.subtitle_files, self.receipt, self.report) if path]

    def check(self, inputs: Iterable[pathlib.Path], has_original: bool = True) -> None:
        """Checks, before any work, that all files can be written and none overwrites an input.

        The stems' folder need not exist yet, but its parent must.

        Args:
            inputs: files that are read.
            has_original: whether sound is kept.

        Raises:
            UserError: as `check_outputs`; an unknown language, kind of subtitle file or audio track; or a
                sample rate that is out of range.
        """
        self.check_settings(has_original)
        files = self.files()
        check_names(files, inputs)
        if self.stems and not os.path.lexists(self.stems):
            # The folder is checked in place of its files: if its parent is writable, it can be made.
            files = [path for path in files if path.parent != self.stems] + [self.stems]
        elif self.stems and not os.path.isdir(self.stems):
            raise UserError(f"{self.stems}: is a file, but the stems need a folder; give another name")
        check_outputs(files, inputs)

    def check_settings(self, has_original: bool = True) -> None:
        """Checks all that is not a path; arguments and errors as of `check`."""
        if self.language is not None:
            check_language(self.language)
        for path in self.subtitle_files:
            if path.suffix.lower() not in SUFFIXES:
                raise UserError(
                    f"{path}: unknown kind of subtitle file; end the name in one of {', '.join(SUFFIXES)}"
                )
        if self.stem_rate is not None:
            check_whole("stem_rate (--stem-rate)", self.stem_rate, *_RATES_HZ)
        known = [name for name in TRACKS if has_original or name != ORIGINAL]
        if not self.audio_tracks or len(set(self.audio_tracks)) < len(self.audio_tracks):
            raise UserError("audio_tracks (--audio-tracks): name at least one track, and each of them once")
        for name in self.audio_tracks:
            if name not in known:
                missing = "; it needs --keep-original" if name == ORIGINAL else ""
                raise UserError(
                    f"audio_tracks (--audio-tracks): no track {name}{missing}; there are {', '.join(known)}"
                )

    def check_space(self, film: Film) -> None:
        """Checks, before any work, that the disk holds the film's copy and the stems.

        Raises:
            UserError: it does not.
        """
        needed = {self.out.parent: film.path.stat().st_size}
        if self.stems:
            rate_hz = self.stem_rate or _LEAST_RATE_HZ
            stems = round(3 * film.duration_s * rate_hz * 2)  # speech, background and mix, of 16 bits
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
                    project.film, _new_tracks(project, targets), targets.out, file, project.num_kept
                )
            advance(0.8)
            if targets.stems:
                outputs.make_folder(targets.stems)
                rate_hz = targets.stem_rate or project.sample_rate_hz
                project.losses += write_stem_files(
                    project.tracks, rate_hz, project.film.num_samples(rate_hz), targets.stems, outputs
                )
            for path in targets.subtitle_files:
                with outputs.open(path) as file:
                    file.write(subtitle_file(spoken_lines(project), path.suffix.lower()).encode())
            if targets.subtitles and not project.spoken:
                project.losses.append("nothing is spoken: the subtitles are empty")
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
    return targets.files(project.tracks)


def _new_tracks(project: Project, targets: Targets) -> NewTracks:
    """What the film gets."""
    language = targets.language and check_language(targets.language)
    default = MIX if MIX in targets.audio_tracks else targets.audio_tracks[0]
    audio = [
        AudioTrack(
            project.tracks[name],
            project.sample_rate_hz,
            name.capitalize(),
            language if name in (MIX, "speech") else None,
            name == default,
        )
        for name in targets.audio_tracks
    ]
    wants_subtitles = True in targets.subtitles and project.spoken
    subtitles = SubtitleTrack(spoken_lines(project), language=language) if wants_subtitles else None
    return NewTracks(audio, subtitles)
