"""The Python API: a loaded model, and the soundtrack that it makes of a film."""

import functools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dualdub_jax.config import SamplingConfig
from dualdub_jax.dubbing.batch_size import default_rows_per_device
from dualdub_jax.dubbing.delivery import Targets, deliver
from dualdub_jax.dubbing.many_films import FilmJob, dub_films
from dualdub_jax.dubbing.mix_settings import MixSettings
from dualdub_jax.dubbing.progress import Progress
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.protocol import DubbingEngine
from dualdub_jax.dubbing.quality import Quality, check_quality
from dualdub_jax.dubbing.rates import COMFORTABLE_RATE, MAX_RATE
from dualdub_jax.dubbing.receipt import make_receipt
from dualdub_jax.dubbing.recognition import Recognise
from dualdub_jax.dubbing.request import DubRequest, check_whole
from dualdub_jax.dubbing.streaming import PART_FRAMES, Chunk, stream_stems
from dualdub_jax.media.film import Film
from dualdub_jax.media.outputs import check_names
from dualdub_jax.stores.path import StorePath


class Soundtrack:
    """The tracks of a film, float32[S] each, exactly as long as the film; [S, 2] with a stereo decoder.

    Attributes:
        project: the whole job: film, script, windows, tokens, gains, times, warnings. Its temporary folder
            lives as long as the soundtrack.
    """

    def __init__(self, project: Project, engine: DubbingEngine | None = None) -> None:
        """Takes over a project whose tracks are done; `retake` needs the engine that made it."""
        self.project, self._engine = project, engine

    @property
    def film(self) -> Film:
        """Duration and format of the film."""
        return self.project.film

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of all tracks."""
        return self.project.sample_rate_hz

    @functools.cached_property
    def speech(self) -> np.ndarray:
        """float32[S]; all zeros if there is no speech."""
        return self.project.tracks["speech"][:]

    @functools.cached_property
    def background(self) -> np.ndarray:
        """float32[S]; all zeros if the background is switched off."""
        return self.project.tracks["background"][:]

    @functools.cached_property
    def original(self) -> np.ndarray | None:
        """float32[S], the sound that was kept; None: none was."""
        return self.project.tracks["original"][:] if self.project.original_sounds else None

    @functools.cached_property
    def mix(self) -> np.ndarray:
        """float32[S]: the sum of the stems, ducked, at its gain and limited; see `mixdown`."""
        return self.project.tracks["mix"][:]

    def retake(
        self, region: tuple[float, float] | None = None, *, cue: int | None = None, seed: int | None = None
    ) -> int:
        """Generates a region anew; the tracks are then those of the new take. See `Project.retake`.

        Returns:
            The number of the new take, for `choose`.

        Raises:
            ValueError: the soundtrack was made without an engine.
        """
        if self._engine is None:
            raise ValueError("this soundtrack has no engine; use Project.retake")
        number = self.project.retake(self._engine, region, cue=cue, seed=seed)
        self._forget_tracks()
        return number

    def choose(self, take: int) -> None:
        """Makes the tracks those of another take; errors as of `Project.choose`."""
        self.project.choose(take)
        self._forget_tracks()

    def _forget_tracks(self) -> None:
        for name in ("speech", "background", "mix"):
            self.__dict__.pop(name, None)

    def quality(self, recognise: Recognise | None = None) -> Quality:
        """Loudness, clipping, gaps and times of this soundtrack, and a verdict.

        Args:
            recognise: recognises its words; `dualdub_jax.evaluation.run.recognition.recognise`, with the
                extra "eval". None: words are not checked.
        """
        return check_quality(self.project, recognise)

    def receipt(self, quality: Quality | None = None) -> dict[str, Any]:
        """The quality of this soundtrack and everything that is needed to make it again, as JSON values.

        Args:
            quality: of this soundtrack, with the words recognised; None: measured here, without them.
        """
        return make_receipt(self.project, quality or self.quality())

    def write(
        self,
        out: pathlib.Path | str,
        stems: pathlib.Path | str | None = None,
        receipt: pathlib.Path | str | None = None,
        report: pathlib.Path | str | None = None,
        figures: Sequence[tuple[str, str]] = (),
        quality: Quality | None = None,
        **settings: Any,
    ) -> list[pathlib.Path]:
        """Writes the film with its soundtrack and the other requested files: all of them or none.

        Args:
            out, stems, receipt, report: see `delivery.Targets`.
            figures: measurements of this soundtrack, names and values, for the report.
            quality: of this soundtrack, for receipt and report; None: measured, without recognising words.
            settings: `subtitles`, `stem_rate`, `audio_tracks`, `language`: likewise.

        Returns:
            The files that were written.

        Raises:
            UserError: a setting is out of range, something cannot be written or would overwrite an input,
                or the container cannot hold the video.
        """
        targets = Targets.make(out, stems, receipt, report, **settings)
        targets.check(self.project.request.inputs, has_original=bool(self.project.original_sounds))
        return deliver(self.project, targets, figures, quality)


class DualDub:
    """A loaded model, ready to dub films. Made by `dualdub_jax.load`."""

    def __init__(self, engine: DubbingEngine, checkpoint: StorePath) -> None:
        self.engine = engine
        self.checkpoint = checkpoint

    def dub(
        self,
        video: pathlib.Path | str,
        script: str = "",
        voice: pathlib.Path | str | None = None,
        *,
        use_speech: bool = True,
        use_background: bool = True,
        rt60_s: float | None = None,
        noise_dbfs: float | None = None,
        seed: int = 0,
        sampling: SamplingConfig | Mapping[str, float] | None = None,
        allow_overrun: bool = False,
        must_speak: bool = True,
        voices: Mapping[str, pathlib.Path | str] | pathlib.Path | str | None = None,
        max_rate: float = MAX_RATE / COMFORTABLE_RATE,
        strict: bool = False,
        mix: MixSettings | Mapping[str, Any] | None = None,
        takes: int = 1,
        out: pathlib.Path | str | None = None,
        project: pathlib.Path | str | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Soundtrack:
        """Makes the soundtrack of a film.

        Args:
            video, script, voice, use_speech, use_background, rt60_s, noise_dbfs, seed, sampling,
            allow_overrun, must_speak, voices, max_rate, strict, mix, takes: see `DubRequest`.
            out: where the film will be written, if already known: a container that cannot hold the video
                is then an error before the work and not after it.
            project: a new or empty folder that keeps the project; None: a temporary one.
            resume: continue the project in this folder, if it was begun and interrupted.
            progress: measures the steps.

        Raises:
            UserError: for every input that cannot be used, naming it.
        """
        request = DubRequest(
            video=video,
            script=script,
            voice=voice,
            use_speech=use_speech,
            use_background=use_background,
            rt60_s=rt60_s,
            noise_dbfs=noise_dbfs,
            seed=seed,
            sampling=sampling,
            allow_overrun=allow_overrun,
            must_speak=must_speak,
            voices={} if voices is None else voices,
            max_rate=max_rate,
            strict=strict,
            mix=mix or MixSettings(),
            takes=takes,
        )
        return self.run(request, out=out, project=project, resume=resume, progress=progress)

    def stream(
        self,
        video: pathlib.Path | str,
        script: str = "",
        voice: pathlib.Path | str | None = None,
        *,
        part_frames: int = PART_FRAMES,
        **settings: Any,
    ) -> Iterator[Chunk]:
        """Makes the stems of a film, and returns them as they are made; see `streaming.py`.

        A film longer than the model's window is decoded once for its shots before the first chunk.

        Args:
            video, script, voice: see `DubRequest`.
            part_frames: frames of tokens that are sampled and decoded at a time; fewer are earlier and
                slower.
            settings: other fields of `DubRequest`, such as `seed`. `takes` and `mix` have no meaning here.

        Returns:
            An iterator of chunks, in order and without gaps; together, their samples times `stem_gain` are
            the stems of `dub` with the same arguments, to float rounding and half a step of 16 bits.

        Raises:
            UserError: for every input that cannot be used, naming it: at once, or by the iterator.
        """
        check_whole("part_frames", part_frames, 1)
        project = Project(DubRequest(video, script, voice, **settings))
        try:
            project.read()
        except BaseException:
            project.close()
            raise
        return self._stream(project, part_frames)

    def _stream(self, project: Project, part_frames: int) -> Iterator[Chunk]:
        with project:
            project.plan(self.engine, self.checkpoint)
            yield from stream_stems(project, self.engine, part_frames)

    def run(
        self,
        request: DubRequest,
        *,
        out: pathlib.Path | str | None = None,
        project: pathlib.Path | str | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Soundtrack:
        """Makes the soundtrack of a request; the rest is as for `dub`."""
        if out is not None:
            check_names([pathlib.Path(out)], request.inputs)
        job = Project(request, project, progress, resume=resume)
        try:
            job.read(out)
            job.dub(self.engine, self.checkpoint)
        except BaseException:
            job.close()
            raise
        return Soundtrack(job, self.engine)

    def dub_many(
        self, requests: Iterable[DubRequest], *, rows_per_device: int | None = None
    ) -> Iterator[tuple[int, Soundtrack | Exception]]:
        """Makes the soundtracks of many films, whose windows are generated in batches on all devices.

        A film has the same soundtrack in any company, see docs/dubbing.md.

        Args:
            requests: one a film; drawn as films are begun.
            rows_per_device: windows of a batch on each device; None: 1 on CPUs, which gives exactly what
                `dub` gives, 8 elsewhere.

        Yields:
            Number of the request from 0, and its soundtrack, or the error that prevented it; as films end.
        """
        rows = default_rows_per_device() if rows_per_device is None else rows_per_device
        check_whole("rows_per_device", rows, 1)
        jobs = (FilmJob(lambda request=request: request) for request in requests)
        for outcome in dub_films(self.engine, self.checkpoint, jobs, rows):
            yield outcome.index, outcome.error or Soundtrack(outcome.project, self.engine)
