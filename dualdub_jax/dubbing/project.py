"""A project: one film from its request to its finished tracks, on disk, as in an audio workstation.

    read -> plan -> generate -> decode -> mix          (delivery.py writes what the user gets)

Each stage uses the results of those before it. Everything streams: frames are decoded as the windows need
them, decoded tracks go to disk, and the mix is made in blocks, so that nothing but the tokens grows with the
film. What each stage has made is in the project's folder (project_folder.py), so that an interrupted project
is resumed where it stopped, and a finished one is opened again.
"""

import contextlib
import dataclasses
import pathlib
import shutil
import weakref
from collections.abc import Callable, Generator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from dualdub_jax.config import GridConfig
from dualdub_jax.config.streams import Stream
from dualdub_jax.dubbing.casting import read_voices
from dualdub_jax.dubbing.film_inputs import find_used, read_inputs
from dualdub_jax.dubbing.film_plan import plan_film
from dualdub_jax.dubbing.listeners import Listeners
from dualdub_jax.dubbing.mixdown import MIX
from dualdub_jax.dubbing.progress import Advance, Progress
from dualdub_jax.dubbing.project_document import (
    check_same_plan,
    check_same_request,
    describe,
    read_request,
)
from dualdub_jax.dubbing.project_folder import ProjectFolder, reading, writing
from dualdub_jax.dubbing.project_inputs import copy_inputs, describe_inputs
from dualdub_jax.dubbing.project_restoring import load_take, restore_plan, restore_takes
from dualdub_jax.dubbing.project_state import ProjectState
from dualdub_jax.dubbing.protocol import DubbingEngine, WindowRequest
from dualdub_jax.dubbing.request import DubRequest, check_seed
from dualdub_jax.dubbing.retake import make_retake
from dualdub_jax.dubbing.take import FinishedTake, Take
from dualdub_jax.dubbing.take_generation import generate_take
from dualdub_jax.dubbing.take_ranking import rank_takes
from dualdub_jax.dubbing.take_tracks import make_tracks
from dualdub_jax.dubbing.window_store import WindowStore
from dualdub_jax.errors import UserError
from dualdub_jax.media import leftovers
from dualdub_jax.media.film import FilmReader
from dualdub_jax.media.track import Track
from dualdub_jax.stores.digests import describe_folder, file_sha256
from dualdub_jax.stores.path import absolute, as_local_path

# Scores of a project's chosen take beyond those of its speech, by name; higher is better.
Score = Callable[[ProjectState], Mapping[str, float | None]]


class Project(ProjectState):
    """One job. A context manager: leaving it closes the film and removes a temporary folder.

    A folder that the user names is kept once the first window is generated, and removed if none is.

    Example:
        with Project(DubRequest("film.mp4", script="lay blue at e nine soon")) as project:
            project.read()
            project.dub(model.engine, model.checkpoint)
            deliver(project, Targets.make("dubbed.mp4"))
    """

    def __init__(
        self,
        request: DubRequest,
        folder: pathlib.Path | str | None = None,
        progress: Progress | None = None,
        *,
        resume: bool = False,
    ) -> None:
        """Makes the folder, or takes up the one that is there.

        Args:
            request: inputs and settings.
            folder: a new or empty folder for the project; None: a temporary one.
            progress: measures the steps; None: in silence.
            resume: the folder may also hold a project of the same request, which is continued.

        Raises:
            UserError: the request cannot be met, the folder is in use or cannot be made, or the project in it
                is damaged.
        """
        request.check()
        self._begin(request, ProjectFolder.make(folder, may_exist=resume), progress)
        if not self.layout.is_temporary:
            self.layout.lock()
            weakref.finalize(self, self.layout.unlock)
        if self.layout.document.exists():
            self._saved = self.layout.read_document()
        else:
            leftovers.add(self.folder)
            # Called by `close`, or when an unclosed project or the process ends.
            self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def _begin(self, request: DubRequest, layout: ProjectFolder, progress: Progress | None) -> None:
        super().__init__(request, layout, progress)
        self._number = 1  # of the take that is being made
        self._loaded: int | None = None  # number of the take whose tokens and tracks are at hand
        self._saved: dict[str, Any] | None = None  # the document of a project that is resumed
        self._reader: FilmReader | None = None
        self._listeners: Listeners | None = None
        self._remove: weakref.finalize | None = None

    @classmethod
    def open(
        cls,
        folder: pathlib.Path | str,
        video: pathlib.Path | str | None = None,
        progress: Progress | None = None,
    ) -> "Project":
        """Opens a finished project that was kept, also one that was moved since.

        Args:
            folder: of the project.
            video: where the film is now; None: where it was, or beside the project.
            progress: measures the steps of further work.

        Raises:
            UserError: no project, an unfinished or a damaged one, one of another version of the format; or
                the film is not found, or is another one.
        """
        layout = ProjectFolder(as_local_path(folder))
        document = layout.read_document()
        project = cls.__new__(cls)
        project._begin(read_request(layout, video and as_local_path(video)), layout, progress)
        with reading(layout.document):
            chosen = document["chosen"]
            if not document["is_finished"]:
                raise UserError(f"{folder}: is not finished; continue it with --resume")
        with FilmReader(project.request.video) as reader:
            read_inputs(project, reader.film)
        restore_plan(project, document)
        restore_takes(project, document)
        with reading(layout.document):
            project.choose(chosen)
        return project

    def __enter__(self) -> "Project":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def retake(
        self,
        engine: DubbingEngine,
        region: tuple[float, float] | None = None,
        *,
        cue: int | None = None,
        seed: int | None = None,
        score: Score | None = None,
    ) -> int:
        """Generates a region of the chosen take anew, as a take of its own, which is then the chosen one.

        Every sample outside of the region is that of the chosen take; see `retake.py`.

        Args:
            engine: the model that the project was made with.
            region: start and end, seconds; or None.
            cue: number of a cue, from 1; or None.
            seed: equal seeds, regions and takes give equal samples; None: the first one that no take has.
            score: see `dub`; of use where the other takes are scored.

        Returns:
            The number of the new take.

        Raises:
            UserError: no such region or cue, or a model of other tracks.
        """
        region_s = self.find_region(region, cue)
        if seed is not None:
            check_seed(seed)
            seed = int(seed)
        self.check_engine(engine)
        if seed is None:
            seed = 1 + max(take.seed for take in self.takes.values())
        with self.layout.locked():
            number = self._retake(engine, region_s, seed)
            if any(take.scores for take in self.takes.values()):
                self._score(number, score)
        return number

    def _retake(self, engine: DubbingEngine, region_s: tuple[Fraction, Fraction], seed: int) -> int:
        threshold_dbfs = self.takes[self.chosen].threshold_dbfs
        self.voices = self.voices or read_voices(self.request.voice, self.request.voices, engine.config.grid)
        number = 1 + max(self.takes)
        with self.progress.step("retake") as advance:
            self.take, self.spoken, warnings = make_retake(
                self, engine, Listeners(engine, self.voices), region_s, seed, number, advance
            )
        self.sound_warnings += warnings
        self.tracks = {name: Track(self.layout.track(number, name)) for name in self.tracks}
        stems = {name: track for name, track in self.tracks.items() if name != MIX}
        self.mixdown = self.mixdown.of_retake(stems, self.tracks[MIX])
        self._add_take(number, threshold_dbfs)
        return number

    def _add_take(self, number: int, threshold_dbfs: float | None) -> None:
        """Adds the take whose tracks are done, as the chosen one."""
        self.takes[number] = FinishedTake(
            self.take.seed,
            self.mixdown.describe(),
            self.spoken,
            threshold_dbfs,
            self.take.parent,
            self.take.region_s,
            tuple(self.sound_warnings),
            sha256={name: file_sha256(path) for name, path in self.take_files(number).items()},
        )
        self.chosen = self._loaded = number
        self._save()

    def close(self) -> None:
        """Closes the film; removes the folder if it is temporary or holds no work."""
        if self._reader is not None:
            self._reader.close()
        if self._remove is not None:
            self._remove()  # does nothing once it is detached
            leftovers.discard(self.folder)
        self.layout.unlock()

    def _keep(self) -> None:
        """From here on, the folder that the user named holds work that is worth keeping."""
        if self._remove is not None and not self.layout.is_temporary:
            self._remove.detach()
            leftovers.discard(self.folder)

    def read(self, out: pathlib.Path | str | None = None) -> None:
        """Opens the film and reads the script: all that can be found wrong without a model.

        Args:
            out: where the film will be written, if already known: a container that cannot hold the video is
                then an error before the work and not after it.

        Raises:
            UserError: the film, the script or the voice cannot be used, or a cue has more text than can be
                spoken.
        """
        request = self.request
        with self.progress.step("read video"):
            self._reader = FilmReader(request.video)
            read_inputs(self, self._reader.film, out and pathlib.Path(out))
            read_voices(request.voice, request.voices, GridConfig())  # the model's own grid is not known yet
            if not self.layout.is_temporary:
                self.inputs = describe_inputs(self.layout, request)
                if self._saved is not None:
                    check_same_request(self.layout, self._saved, request, self.inputs)
        find_used(self)

    def dub(self, engine: DubbingEngine, checkpoint: pathlib.Path, score: Score | None = None) -> None:
        """Takes the project from its inputs to its tracks; of several takes, the best one is chosen.

        Args:
            engine: the model.
            checkpoint: its folder, for the record.
            score: further scores by which several takes are ranked (take_ranking.py); None: by their speech
                alone.

        Raises:
            UserError: an input does not fit the model: a script too long for the film, an unusable voice,
                acoustics for a model without that condition. Or nothing of the script is audible in any take,
                unless the request allows it.
        """
        with self.progress.step("read inputs") as advance:
            self.plan(engine, checkpoint, advance)
        with contextlib.closing(self.requests(engine, score)) as requests:
            request = next(requests, None)
            while request is not None:
                try:
                    request = requests.send(engine.generate(**request))
                except StopIteration:
                    break

    def requests(
        self, engine: DubbingEngine, score: Score | None = None
    ) -> Generator[WindowRequest, Mapping[Stream, np.ndarray], None]:
        """Takes the project from its plan to its tracks, and asks for the tokens of the windows one by one.

        A window needs the tokens of the one before it, so that a film asks for one at a time. Whoever drives
        the generator answers with what `engine.generate(**request)` returns, alone or in a batch with the
        windows of other films. Arguments and errors are those of `dub`.

        Yields:
            Arguments of `engine.generate`; receives its result.
        """
        pending = [number for number in self.requested if number not in self.takes]
        for self._number in pending:
            with self.progress.step("generate") as advance:
                yield from self.window_requests(engine, advance)
            self._finish_take(engine)
            if self.request.takes > 1:
                self._score(self._number, score)
        if not pending:
            self.choose(self.chosen)
        elif len(self.requested) > 1:
            self.choose(rank_takes({number: self.takes[number] for number in self.requested})[0])
        self._require_speech()

    def _finish_take(self, engine: DubbingEngine) -> None:
        """The last stages of one take: decodes and mixes its tracks, checks the speech, saves the project."""
        with self.progress.step("decode") as advance:
            threshold_dbfs = make_tracks(self, engine, self._listening(engine), self._number, advance)
        self._add_take(self._number, threshold_dbfs)

    def _score(self, number: int, score: Score | None) -> None:
        """Scores the chosen take."""
        if score is None:
            return
        with self.progress.step("score"):
            self.takes[number] = dataclasses.replace(self.takes[number], scores=dict(score(self)))
        self._save()

    def choose(self, number: int) -> None:
        """Makes a take the one that `take`, `tracks`, `mixdown` and `spoken` belong to.

        Raises:
            UserError: there is no such take, or its files are damaged.
        """
        if number not in self.takes:
            raise UserError(
                f"{self.folder}: has no take {number}; there are {', '.join(map(str, sorted(self.takes)))}"
            )
        if number != self._loaded:
            load_take(self, number)
            self._loaded = number
        if number != self.chosen:
            with self.layout.locked():
                self.chosen = number
                self._save()

    def plan(
        self,
        engine: DubbingEngine,
        checkpoint: pathlib.Path,
        advance: Advance = lambda fraction: None,
    ) -> None:
        """Reads the reference recordings and the shots of the film, plans windows and tracks.

        A project that is resumed gets back the takes that are done.

        Args:
            engine: the model.
            checkpoint: its folder, for the record.
            advance: progress.

        Raises:
            UserError: an unusable voice, or a script too long for the film; a project that is resumed was
                begun with another checkpoint.
        """
        self.voices = read_voices(self.request.voice, self.request.voices, engine.config.grid)
        self.checkpoint = checkpoint
        plan_film(self, engine, advance)
        if self.layout.is_temporary:
            return
        self.checkpoint_record = describe_folder(absolute(checkpoint))
        if self._saved is None:
            self._save()
            copy_inputs(self.layout, self.request, self.inputs)
        else:
            check_same_plan(self.layout, self._saved, describe(self))
            if self.layout.strip.exists():
                restore_takes(self, self._saved)

    def window_requests(
        self, engine: DubbingEngine, advance: Advance
    ) -> Generator[WindowRequest, Mapping[Stream, np.ndarray], None]:
        """Asks for the tokens of the windows of one take, see `requests`; at its end, `take` is saved.

        Args:
            engine: samples the acoustics, and decodes what is needed to plan on.
            advance: progress.

        Yields:
            Arguments of `engine.generate`; receives its result.

        Raises:
            UserError: see `generate_take`.
        """
        number, path = self._number, self.layout.take(self._number)
        is_resumed = self._saved is not None
        if is_resumed and path.exists():
            self.take = Take.load(path)
            return
        if self._reader is None or self._reader.is_read:
            self._reader = FilmReader(self.request.video)
        listeners = self._listening(engine)
        made = yield from generate_take(
            self, engine, listeners, number, self._reader, is_resumed, self._keep, advance
        )
        self.take, self.film, self.strip = made.take, made.film, made.strip
        self.earlier_seconds["generate"] = self.earlier_seconds.get("generate", 0.0) + made.earlier_s
        with writing(self.layout.strip) as file:
            Image.fromarray(np.concatenate(self.strip, axis=1)).save(file, "PNG")
        self._save()
        self.take.save(path)
        WindowStore(self.layout, number).clear()

    def _listening(self, engine: DubbingEngine) -> Listeners:
        if self._listeners is None:
            self._listeners = Listeners(engine, self.voices)
        return self._listeners

    def _require_speech(self) -> None:
        take = self.takes[self.chosen]
        if self.request.must_speak and take.is_inaudible:
            raise UserError(
                f"{self.script.source}: nothing of the script is audible: no speech is louder than "
                f"{take.threshold_dbfs:.0f} dBFS where it is due; choose another --seed, a video "
                "in which the speaker's mouth is visible, or a checkpoint trained on speech; "
                "--allow-inaudible writes the files all the same"
            )

    def _save(self) -> None:
        """Writes `project.json` of a kept project."""
        if not self.layout.is_temporary:
            self.layout.write_document(describe(self))
