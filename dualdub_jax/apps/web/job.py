"""A film of the page: its project, its takes, and the files to play and to download.

The page drives the same `Project` as the command line; of the page's files, this one alone knows it.
"""

import pathlib
import secrets
import shutil
from collections.abc import Sequence
from typing import Any

from dualdub_jax.apps.web.device_queue import Task, TaskProgress
from dualdub_jax.apps.web.player_data import (
    describe_take,
    describe_words,
    draw_strip,
    draw_tracks,
)
from dualdub_jax.apps.web.preview import plays_in_browsers, write_preview
from dualdub_jax.apps.web.receipts import name_files
from dualdub_jax.apps.web.settings import Delivery
from dualdub_jax.dubbing.delivery import Targets, deliver
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.quality import check_quality
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.evaluation.run.recognition import find_recogniser
from dualdub_jax.evaluation.run.take_scores import score_take
from dualdub_jax.media.track import Track

_STEMS = {
    "speech": "Speech track",
    "background": "Background track",
    "original": "The film's own sound",
    "mix": "Mix",
}


class Job:
    """One film of one visitor. Its methods that generate run in the thread of the device.

    Attributes:
        folder: of all its files.
        token: random; part of the addresses of its files.
        files: by the names in those addresses, the files that the visitor may fetch.
        downloads: names of `files` to download, and what they are.
        player: the player's document, see `player_data`; empty until the film is done.
        revision: rises with each change of files or player.
        verdict: on the soundtrack, one line.
        no_recognition: why words are not recognised; "" if they are, or if there are none.
        warnings: what the visitor should know, one sentence each.
    """

    def __init__(self, request: DubRequest, folder: pathlib.Path, delivery: Delivery) -> None:
        """Prepares a job.

        Args:
            request: inputs and settings; the inputs lie in a folder of the visitor.
            folder: a new one, for the project and the files.
            delivery: formats of the files.

        Raises:
            UserError: an unknown language, or a sample rate out of range.
        """
        self.token = secrets.token_urlsafe(24)
        self.files: dict[str, pathlib.Path] = {}
        self.downloads: dict[str, str] = {}
        self.player: dict[str, Any] = {}
        self.revision = 0
        self.verdict = self.no_recognition = ""
        self.warnings: Sequence[str] = ()
        self._request, self.folder = request, folder
        self._project_folder = folder / "project"
        self._pictures: dict[int, dict[str, Any]] = {}  # of the tracks, by take
        self._out = folder / "files"
        stem, has_speech = request.video.stem, bool(request.script and request.use_speech)
        self._targets = Targets.make(
            self._out / f"{stem}.dubbed{delivery.suffix}",
            self._out / "stems",
            self._out / f"{stem}.receipt.json",
            self._out / f"{stem}.report.html",
            subtitles=[delivery.add_subtitles, self._out / f"{stem}.srt"] if has_speech else None,
            stem_rate=delivery.stem_rate,
            language=delivery.language or None,
        )
        self._targets.check_settings()

    def make(self, model: DualDub, task: Task) -> "Job":
        """Generates the soundtrack, in as many takes as are asked for, and writes all files.

        Raises:
            UserError: an input cannot be used.
            Cancelled: the task was cancelled.
        """
        self._out.mkdir(parents=True)
        with Project(self._request, self._project_folder, TaskProgress(task)) as project:
            project.read(self._targets.out)
            self._targets.check_space(project.film)
            project.dub(model.engine, model.checkpoint, score_take if self._request.takes > 1 else None)
            self._publish(project)
        return self

    def redo(self, model: DualDub, task: Task, region_s: tuple[float, float], seed: int | None) -> "Job":
        """Generates a region anew, as a take of its own, which is then in use.

        Args:
            model: as of `make`.
            task: as of `make`.
            region_s: start and end, seconds.
            seed: None: the first one that no take has.

        Raises:
            UserError: no such region.
            Cancelled: the task was cancelled.
        """
        with self._opened(task) as project:
            project.retake(model.engine, region_s, seed=seed)
            self._publish(project)
        return self

    def choose(self, task: Task, take: int) -> "Job":
        """Delivers another take; raises as `redo`."""
        with self._opened(task) as project:
            project.choose(take)
            self._publish(project)
        return self

    def _opened(self, task: Task) -> Project:
        return Project.open(self._project_folder, self._request.video, TaskProgress(task))

    def close(self) -> None:
        """Removes all files."""
        self.files, self.downloads, self.player = {}, {}, {}
        shutil.rmtree(self.folder, ignore_errors=True)

    def _publish(self, project: Project) -> None:
        """Writes the files of the take in use, and describes all takes for the player."""
        quality = check_quality(project, *find_recogniser())
        targets = self._targets
        deliver(project, targets, quality=quality)
        name_files(targets.receipt, targets.report, self._file_names(project), self.folder)
        named = {
            targets.out: "The film with its soundtrack",
            **{targets.stems / f"{name}.wav": _STEMS[name] for name in project.tracks},
            **dict.fromkeys(targets.subtitle_files, "Subtitles of what is spoken"),
            targets.receipt: "Receipt: figures, and what is needed to make it again",
            targets.report: "Report: a page with pictures and players",
        }
        with project.progress.step("draw"):
            player, files = self._draw(project)
        self.player = player | {"words": describe_words(quality)}
        self.files = {path.name: path for path in named} | files
        self.downloads = {path.name: what for path, what in named.items()}
        self.verdict, self.warnings = quality.verdict, project.warnings
        self.no_recognition = quality.no_recognition if quality.spoken else ""
        self.revision += 1

    def _file_names(self, project: Project) -> dict[str, str]:
        """Names for the receipt, by path: an opened project reads copies, which have names of its own."""
        checkpoint = project.checkpoint_record["path"]
        return {checkpoint: pathlib.PurePosixPath(checkpoint).name} | {
            str(project.layout.input(record["copy"])): pathlib.PurePath(record["path"]).name
            for record in project.inputs.values()
            if record["copy"] is not None
        }

    def _draw(self, project: Project) -> tuple[dict[str, Any], dict[str, pathlib.Path]]:
        """The player's document but for the words, and the files that it names."""
        picture = self._targets.out
        has_mix = plays_in_browsers(project.film, picture)
        if not has_mix:
            picture = self._out / "preview.mp4"
            if not picture.exists():
                write_preview(project.film, picture)
        files = {"picture": picture}
        takes = []
        for number, take in project.takes.items():
            paths = {name: project.layout.track(number, name) for name in project.tracks}
            if number not in self._pictures:
                self._pictures[number] = draw_tracks({name: Track(path) for name, path in paths.items()})
            files |= {f"take{number}.{name}.wav": path for name, path in paths.items()}
            tracks = {
                name: {"sound": f"take{number}.{name}.wav"} | pictures
                for name, pictures in self._pictures[number].items()
            }
            takes.append(describe_take(number, take, project.chosen) | {"tracks": tracks})
        player = {
            "title": project.film.path.name,
            "duration_s": float(project.film.duration_s),
            "picture": f"picture?{self.revision + 1}",
            "picture_has_mix": has_mix,
            "strip": draw_strip(project.strip),
            "takes": takes,
        }
        return player, files
