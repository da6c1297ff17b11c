"""The systems that an evaluation compares: checkpoint, true stems, coded stems, shuffled tracks.

- `true`: the film's own stems; the ceiling.
- `codec`: the same stems through the checkpoint's codecs, the bound for a perfect language model.
- `ours`: the checkpoint, as `dualdub dub` runs it.
- `shuffled`: our speech of a second film with our background of a third; the floor of every figure that
  depends on the film.
"""

import dataclasses
import math
import pathlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import soxr

import dualdub_jax
from dualdub_jax.bundles.bundle import read_bundle_header
from dualdub_jax.config import to_dict
from dualdub_jax.dsp.sinc_resample import sinc_resample
from dualdub_jax.dubbing.batch_size import default_rows_per_device
from dualdub_jax.dubbing.dub import DualDub, Soundtrack
from dualdub_jax.dubbing.many_films import FilmJob, dub_films
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.dubbing.stems import Stems
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip, at_metric_rate
from dualdub_jax.evaluation.contracts.results import CODEC, OURS, SHUFFLED, TRUE
from dualdub_jax.evaluation.run.stem_store import StemStore, Tracks, writing
from dualdub_jax.evaluation.suites.sound import Reading
from dualdub_jax.evaluation.suites.suite import Footage
from dualdub_jax.stores.digests import describe_folder
from dualdub_jax.types import STREAMS

MIN_SHUFFLED = 3  # films; with fewer, a shuffled film's speech and background would have the same origin


class Checkpoint:
    """A checkpoint with its digest; the model is loaded on first use.

    Attributes:
        path: of its folder.
        sha256: of the names and contents of its files, as in receipts of `dualdub dub`.
    """

    def __init__(
        self,
        path: pathlib.Path,
        seed: int = 0,
        allow_code: bool = False,
        reading: Reading = "mean",
        rows_per_device: int | None = None,
    ) -> None:
        """Reads the checkpoint's header.

        Args:
            path: of its folder.
            seed: of generation; each clip derives its own.
            allow_code: see `dualdub_jax.load`.
            reading: how tracks are brought to the metrics' rate, as files are.
            rows_per_device: windows of different films that a device generates at once, see
                `DubbingEngine.generate_many`; None: `default_rows_per_device`.

        Raises:
            UserError: not a checkpoint.
        """
        self._reading = reading
        self._resample = soxr.resample if reading == "mean" else sinc_resample
        self.path, self.seed, self._allow_code = path, seed, allow_code
        self._config = read_bundle_header(path).config
        self.sha256 = describe_folder(path)["sha256"]
        self._rows = default_rows_per_device() if rows_per_device is None else rows_per_device
        self._model: DualDub | None = None
        self._compiled: set[tuple[int, tuple[str, ...]]] = set()
        self._shapes: set[tuple[int, bool]] = set()

    @property
    def is_loaded(self) -> bool:
        return self._model is not None

    def load(self) -> DualDub:
        """The model; errors as `dualdub_jax.load`."""
        if self._model is None:
            self._model = dualdub_jax.load(self.path, allow_code=self._allow_code)
        return self._model

    def protocol(self) -> dict[str, Any]:
        """For the report."""
        return {"path": str(self.path), "name": self.path.resolve().name, "sha256": self.sha256}

    def settings(self) -> dict[str, Any]:
        """All that generated tracks depend on besides their clip."""
        return {
            "checkpoint_sha256": self.sha256,
            "seed": self.seed,
            "sampling": to_dict(self._config.sampling),
            "version": dualdub_jax.__version__,
        } | (
            ({} if self._reading == "mean" else {"channels": self._reading})
            # Those of one row are exactly those of `dualdub dub`.
            | ({} if self._rows == 1 else {"rows_per_device": self._rows})
        )

    def codec_settings(self) -> dict[str, Any]:
        """All that coded tracks depend on besides their clip."""
        settings = self.settings()
        return {key: x for key, x in settings.items() if key not in ("seed", "sampling", "rows_per_device")}

    def generate(self, footage: Footage, store: StemStore) -> Tracks:
        """Generates the soundtrack of a film as `dualdub dub` does.

        Args:
            footage: of the film.
            store: its folder stores the script as a file, since a script's text could be a file's name.

        Raises:
            UserError: the film, its voice or its script cannot be used.
        """
        request = self._request(footage, store)
        soundtrack = self._dub(request)
        project = soundtrack.project
        program = (math.ceil(project.num_frames / self._config.grid.num_frames), project.used)
        if program not in self._compiled:
            # The first film of a shape includes compilation, which must not be measured.
            self._compiled.add(program)
            soundtrack = self._dub(request)
        return self._tracks(soundtrack)

    def generate_many(
        self, ids: Sequence[str], load: Callable[[str], Footage], store: StemStore
    ) -> Iterator[tuple[str, Tracks | Exception]]:
        """Generates the soundtracks of films, whose windows are generated in batches.

        Args:
            ids: of the clips; those of similar length are generated together.
            load: id -> its film.
            store: see `generate`.

        Yields:
            A clip's id, and its soundtrack or the error that prevented it; as films end.
        """
        lengths, faulty = {}, []
        for clip_id in ids:
            try:
                lengths[clip_id] = load(clip_id).clip.num_samples
            except Exception as error:
                faulty.append((clip_id, error))
        yield from faulty
        order = sorted(lengths, key=lengths.__getitem__)
        self._compile([load(clip_id) for clip_id in self._first_of_shapes(order, load)], store)
        model = self.load()
        jobs = (FilmJob(lambda i=clip_id: self._request(load(i), store)) for clip_id in order)
        for outcome in dub_films(model.engine, model.checkpoint, jobs, self._rows):
            if outcome.error is not None:
                yield order[outcome.index], outcome.error
                continue
            with outcome.project as project:
                yield order[outcome.index], self._tracks(Soundtrack(project, model.engine))

    def _first_of_shapes(self, ids: Sequence[str], load: Callable[[str], Footage]) -> list[str]:
        """A clip of each shape whose programs have not run yet."""
        chosen, grid = [], self._config.grid
        for clip_id in ids:
            clip = load(clip_id).clip
            num_frames = math.ceil(Fraction(clip.num_samples, SAMPLE_RATE_HZ) * grid.frame_rate)
            program = (math.ceil(num_frames / grid.num_frames), bool((clip.text or "").strip()))
            if program not in self._shapes:
                self._shapes.add(program)
                chosen.append(clip_id)
        return chosen

    def _compile(self, films: Sequence[Footage], store: StemStore) -> None:
        """Dubs films for nothing: the first one of a shape compiles, which must not be measured."""
        model = self.load()
        jobs = (FilmJob(lambda film=film: self._request(film, store)) for film in films)
        for outcome in dub_films(model.engine, model.checkpoint, jobs, self._rows):
            if outcome.project is not None:
                outcome.project.close()

    def _request(self, footage: Footage, store: StemStore) -> DubRequest:
        clip_id = footage.clip.id
        if footage.video is None:
            raise UserError(f"{clip_id}: has no video, so no soundtrack can be generated")
        script, text = "", (footage.clip.text or "").strip()
        if text:
            path = store.path(clip_id, "script.txt")
            with writing(store.folder):
                store.folder.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            script = str(path)
        seed = zlib.crc32(f"{self.seed} {clip_id}".encode()) % 2**31
        # A model that does not speak is scored, not refused.
        return DubRequest(footage.video, script, footage.voice, seed=seed, must_speak=False)

    def _dub(self, request: DubRequest) -> Soundtrack:
        return self.load().run(request)

    def _tracks(self, soundtrack: Soundtrack) -> Tracks:
        duration_s, rate_hz = soundtrack.film.duration_s, soundtrack.sample_rate_hz
        seconds = soundtrack.project.progress.seconds
        return Tracks(
            at_metric_rate(self._channel(soundtrack.speech), rate_hz, duration_s, self._resample),
            at_metric_rate(self._channel(soundtrack.background), rate_hz, duration_s, self._resample),
            generation_s=seconds["generate"] + seconds["decode"],
        )

    def _channel(self, track: np.ndarray) -> np.ndarray:
        """One channel of a track, as files are read."""
        return track[:, 0] if track.ndim == 2 and self._reading == "first_channel" else track

    def code(self, clip: Clip) -> Tracks:
        """Passes a clip's true stems through the codecs, and rounds them as generated ones.

        A stem that is digital silence stays silent, as `dub` leaves an unused track.
        """
        stems = {"speech": clip.true_speech, "background": clip.true_background}
        coded = {stream: self._code(stream, stems[stream], clip) for stream in STREAMS}
        made = Stems.measure(coded, clip.num_samples).arrays()
        return Tracks(
            None if clip.true_speech is None else made["speech"],
            None if clip.true_background is None else made["background"],
        )

    def _code(self, stream: str, stem: np.ndarray | None, clip: Clip) -> np.ndarray | None:
        """The stem through its codec, float32[S] at the metrics' rate, S >= num_samples; None for silence."""
        if stem is None or not stem.any():
            return None
        engine, grid = self.load().engine, self._config.grid
        codec = engine.codecs[stream]
        duration_s = Fraction(clip.num_samples, SAMPLE_RATE_HZ)
        num_frames = math.ceil(duration_s * grid.frame_rate)
        samples = fit(stem, math.ceil(num_frames * SAMPLE_RATE_HZ / grid.frame_rate))
        if codec.spec.sample_rate_hz != SAMPLE_RATE_HZ:
            samples = soxr.resample(samples, SAMPLE_RATE_HZ, codec.spec.sample_rate_hz)
        # Whole windows, so that films of similar length share a compiled encoder.
        padded = math.ceil(num_frames / grid.num_frames) * grid.num_frames
        samples = fit(samples, padded * codec.spec.samples_per_frame)
        mask = (np.arange(padded) < num_frames)[None]
        tokens = np.asarray(codec.encode(samples[None], mask))[0, :num_frames]
        voice = clip.voice
        if voice is not None and grid.sample_rate_hz != SAMPLE_RATE_HZ:
            voice = soxr.resample(voice, SAMPLE_RATE_HZ, grid.sample_rate_hz)
        decoded = engine.decode(stream, tokens, voice)
        return at_metric_rate(
            self._channel(decoded), engine.sample_rate_hz(stream), duration_s, self._resample
        )


def true_tracks(clip: Clip) -> Tracks:
    """The film's own stems as a system's tracks."""
    return Tracks(clip.true_speech, clip.true_background)


def with_tracks(clip: Clip, tracks: Tracks) -> Clip:
    """The clip with a system's soundtrack."""
    return dataclasses.replace(
        clip,
        speech=tracks.speech,
        background=tracks.background,
        mixture=tracks.mixture,
        generation_s=tracks.generation_s,
    )


def shuffle(ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Assigns each film the speech and the background of two other, different films.

    Source: our choice; two rotations of one random circle, so each track is used exactly once.

    Args:
        ids: of at least `MIN_SHUFFLED` films.

    Returns:
        id -> (id of the speech, id of the background); the same for the same ids.
    """
    circle = [ids[i] for i in np.random.default_rng(0).permutation(len(ids))]
    return {
        clip_id: (circle[(i + 1) % len(circle)], circle[(i + 2) % len(circle)])
        for i, clip_id in enumerate(circle)
    }


def shuffled_tracks(clip: Clip, speech_of: Clip, background_of: Clip) -> Tracks:
    """One film's speech and another's background, truncated or zero-padded to the length of `clip`.

    Args:
        clip: the film.
        speech_of: provides the speech; of a system without stems, the mixture.
        background_of: provides the background.
    """
    # A mixture would contradict the stems, so it is used only where there are none.
    mixture = speech_of.mixture if speech_of.speech is None and speech_of.background is None else None
    return Tracks(
        *(
            None if track is None else fit(track, clip.num_samples)
            for track in (speech_of.speech, background_of.background, mixture)
        )
    )


def fit(track: np.ndarray, num_samples: int) -> np.ndarray:
    """float32[num_samples]: truncated or zero-padded at the end."""
    track = track[:num_samples]
    return np.pad(track, (0, num_samples - len(track)))


def describe(checkpoint: Mapping[str, Any] | None) -> dict[str, str]:
    """Descriptions of the systems, for the report; `checkpoint` as `Checkpoint.protocol`, None: of a
    manifest.
    """
    words = {
        OURS: f"DualDub with the checkpoint {checkpoint['name']}" if checkpoint else "the manifest's audio",
        TRUE: "the film's own sound",
        CODEC: "the film's own sound through the checkpoint's codecs",
        SHUFFLED: "speech of one other film of ours and background of a third",
    }
    if checkpoint is None:
        del words[CODEC]
    return words
