"""A film of the page: its project, its takes, and the files to play and to download.

The page drives the same `Project` as the command line; of the page's files, this one alone knows it.
"""

import pathlib
import secrets
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from dualdub_jax.apps.web.device_queue import Task, TaskProgress
from dualdub_jax.apps.web.player_data import describe_words, draw_strip, draw_tracks
from dualdub_jax.apps.web.preview import plays_in_browsers, write_preview
from dualdub_jax.apps.web.settings import Delivery
from dualdub_jax.dubbing.delivery import Targets, deliver
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.quality import check_quality
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.evaluation.run.recognition import find_recogniser

_STEMS = {
    "speech": "Speech track",
    "background": "Background track",
    "original": "The film's own sound",
    "mix": "Mix",
}


class Job:
    """One film of one visitor. Its methods that generate run in the thread of the device.

    Attributes:
        token: random; part of the addresses of its files.
        files: by the names in those addresses, the files that the visitor may fetch.
        downloads: names of `files` to download, and what they are.
        player: the player's document, see `player_data`; empty until the film is done.
        revision: rises with each change of files or player.
        verdict: on the soundtrack, one line.
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
        self.verdict = ""
        self.warnings: Sequence[str] = ()
        self._request, self._folder = request, folder
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
        """Generates the soundtrack and writes all files.

        Raises:
            UserError: an input cannot be used.
            Cancelled: the task was cancelled.
        """
        self._out.mkdir(parents=True)
        with Project(self._request, self._folder / "project", TaskProgress(task)) as project:
            project.read(self._targets.out)
            self._targets.check_space(project.film)
            project.dub(model.engine, model.checkpoint)
            self._deliver(project)
            with project.progress.step("draw"):
                self.player = self._draw(project)
        return self

    def close(self) -> None:
        """Removes all files."""
        self.files, self.downloads, self.player = {}, {}, {}
        shutil.rmtree(self._folder, ignore_errors=True)

    def _deliver(self, project: Project) -> None:
        self._quality = check_quality(project, *find_recogniser())
        deliver(project, self._targets, quality=self._quality)
        targets = self._targets
        named = {
            targets.out: "The film with its soundtrack",
            **{targets.stems / f"{name}.wav": _STEMS[name] for name in project.tracks},
            **dict.fromkeys(targets.subtitle_files, "Subtitles of what is spoken"),
            targets.receipt: "Receipt: figures, and what is needed to make it again",
            targets.report: "Report: a page with pictures and players",
        }
        self.files = {path.name: path for path in named}
        self.downloads = {path.name: what for path, what in named.items()}
        self.verdict = self._quality.verdict
        self.warnings = project.warnings

    def _draw(self, project: Project) -> Mapping[str, Any]:
        picture = self._targets.out
        has_mix = plays_in_browsers(project.film, picture)
        if not has_mix:
            picture = self._out / "preview.mp4"
            write_preview(project.film, picture)
        self.files["picture"] = picture
        return {
            "title": project.film.path.name,
            "duration_s": float(project.film.duration_s),
            "picture": "picture",
            "picture_has_mix": has_mix,
            "strip": draw_strip(project.strip),
            "words": describe_words(self._quality),
            "takes": [
                {
                    "id": 1,
                    "label": "Take 1",
                    "is_chosen": True,
                    "tracks": {
                        name: {"sound": f"{name}.wav"} | pictures
                        for name, pictures in draw_tracks(project.tracks).items()
                    },
                }
            ],
        }
