"""A whole evaluation: load films, obtain soundtracks, score them, estimate figures and intervals.

Every step caches its output in the working directory, so an interrupted run resumes. A clip that fails is
reported and excluded; the other clips are still evaluated.
"""

import collections
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from dualdub_jax import __version__
from dualdub_jax.dubbing.progress import Progress
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import Metric
from dualdub_jax.evaluation.contracts.results import (
    CODEC,
    OTHER,
    OURS,
    SCHEMA,
    SHUFFLED,
    SYSTEMS,
    TRUE,
    plain,
    to_json,
)
from dualdub_jax.evaluation.run import systems
from dualdub_jax.evaluation.run.failures import Failure, FailureLog
from dualdub_jax.evaluation.run.score_store import ScoreStore, Values, clip_digest, metric_digest, score_key
from dualdub_jax.evaluation.run.scoring import BrokenMetricError, missing_requirement, score_system
from dualdub_jax.evaluation.run.scoring_ahead import ScoringAhead
from dualdub_jax.evaluation.run.stem_store import StemStore, Tracks, WorkdirError, writing
from dualdub_jax.evaluation.statistics import bootstrap, table
from dualdub_jax.evaluation.statistics.against import RESULTS_FILE, SCORES_FILE, Other, PastRun, compare
from dualdub_jax.evaluation.suites.suite import Footage, Suite

LOG_FILE = "errors.log"
_KEPT_FILMS, _KEPT_CLIPS = 512, 1024  # held in memory: about 0.8 and 0.6 MB each


def evaluate(
    suite: Suite,
    metrics: Sequence[Metric],
    workdir: pathlib.Path,
    *,
    checkpoint: systems.Checkpoint | None = None,
    other: Other | None = None,
    other_checkpoint: systems.Checkpoint | None = None,
    rows: Sequence[str] = SYSTEMS,
    jobs: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluates a suite.

    Args:
        suite: the clips.
        metrics: to compute.
        workdir: created if absent; holds soundtracks, scores, the log and a copy of the results.
        checkpoint: generates the soundtracks, for suites without their own.
        other: the comparison of `--against`; None: no comparison.
        other_checkpoint: that of `other`, if it is a checkpoint.
        rows: systems to score, of `results.SYSTEMS`; the shuffled row needs the soundtracks of ours, which
            are then made and not scored.
        jobs: processes that score; metrics that use JAX are scored in this one. Results do not depend on it.
        progress: receives the steps.

    Returns:
        The results, see `results`. Failures of single clips are listed there and do not raise.

    Raises:
        UserError: the working directory cannot be written, no clip can be read, `other` is not comparable, or
            a process that scores dies.
    """
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    run = _Run(suite, metrics, workdir, checkpoint, rows, progress or Progress())
    try:
        run.load_films()
        past = None
        if other is not None and other.kind == "run":
            past = PastRun(other, suite.name, run.fingerprints)
        run.make_soundtracks(other_checkpoint)
        run.score(other_checkpoint is not None, jobs)
        with run.progress.step("intervals"):
            results = run.results()
            if other is not None:
                results["against"] = run.against(other, past, other_checkpoint)
    finally:
        run.close()
    results = plain(results)
    with writing(workdir):
        (workdir / RESULTS_FILE).write_text(to_json(results), encoding="utf-8")
    return results


class _Run:
    """State of one evaluation; its methods are called in the order of their definition.

    Attributes:
        progress: receives the steps.
        fingerprints: id -> fingerprint of the clips that could be read, in order.
    """

    def __init__(
        self,
        suite: Suite,
        metrics: Sequence[Metric],
        workdir: pathlib.Path,
        checkpoint: systems.Checkpoint | None,
        rows: Sequence[str],
        progress: Progress,
    ) -> None:
        self.progress, self._rows = progress, rows
        self.fingerprints: dict[str, str] = {}
        self._suite, self._metrics, self._workdir, self._checkpoint = suite, metrics, workdir, checkpoint
        self._failures = FailureLog(workdir / LOG_FILE)
        self._scores = ScoreStore(workdir / SCORES_FILE)
        self._footage = functools.lru_cache(maxsize=_KEPT_FILMS)(suite.load)
        # system -> id -> loader of its tracks; the keys are the clips that the system has.
        self._loaders: dict[str, dict[str, Callable[[], Tracks]]] = collections.defaultdict(dict)
        self._stores: dict[str, StemStore] = {}
        self._shuffled_from: dict[str, tuple[str, str]] = {}
        self._clip = functools.lru_cache(maxsize=_KEPT_CLIPS)(self._load_clip)
        self._values: dict[str, dict[str, Values]] = collections.defaultdict(dict)  # system -> id -> values
        self._digests: dict[str, dict[str, str]] = {}  # system -> id -> digest of the clip
        self._metric_digests: dict[str, str] = {}
        self._missing: dict[str, str] = {}  # metric -> why it was not measured

    def close(self) -> None:
        self._scores.close()

    # ------------------------------------------------------------------------------------- films, tracks

    def load_films(self) -> None:
        """Reads (or renders) and fingerprints every film.

        Raises:
            UserError: none of them can be read.
        """

        def load(clip_id: str) -> None:
            self.fingerprints[clip_id] = self._footage(clip_id).fingerprint()

        self._each("films", self._suite.ids, "", "film", load)
        if not self.fingerprints:
            first = self._failures.entries[0]
            raise UserError(f"none of the {len(self._suite.ids)} clips can be read; {first['error']}")

    def make_soundtracks(self, other_checkpoint: systems.Checkpoint | None) -> None:
        """Generates the missing soundtracks of every system.

        Args:
            other_checkpoint: the second system of `--against`, if it is a checkpoint.
        """
        if self._suite.is_generated:
            if OURS in self._rows or SHUFFLED in self._rows:
                self._generate(OURS, "generate", self._checkpoint)
            if other_checkpoint is not None:
                self._generate(OTHER, "generate other", other_checkpoint)
            if CODEC in self._rows:
                self._code()
        else:
            for clip_id in self.fingerprints:
                clip = self._footage(clip_id).clip
                if clip.mix is not None:
                    self._loaders[OURS][clip_id] = functools.partial(self._given_tracks, clip_id)
        for clip_id in self.fingerprints:
            clip = self._footage(clip_id).clip
            if clip.true_speech is not None or clip.true_background is not None:
                self._loaders[TRUE][clip_id] = functools.partial(self._true_tracks, clip_id)
        ids = list(self._loaders[OURS])
        if len(ids) >= systems.MIN_SHUFFLED:
            self._shuffled_from = systems.shuffle(ids)
            for clip_id in ids:
                self._loaders[SHUFFLED][clip_id] = functools.partial(self._shuffled_tracks, clip_id)

    def _generate(self, system: str, stage: str, checkpoint: systems.Checkpoint) -> None:
        store = StemStore(self._workdir, OURS, checkpoint.settings())
        self._fill(
            system, stage, store, checkpoint, lambda ids: checkpoint.generate_many(ids, self._footage, store)
        )

    def _code(self) -> None:
        store = StemStore(self._workdir, CODEC, self._checkpoint.codec_settings())

        def code(ids: Sequence[str]) -> Iterator[tuple[str, Tracks | Exception]]:
            for clip_id in ids:
                try:
                    yield clip_id, self._checkpoint.code(self._footage(clip_id).clip)
                except Exception as error:
                    yield clip_id, error

        self._fill(CODEC, "codec", store, self._checkpoint, code)

    def _fill(
        self,
        system: str,
        stage: str,
        store: StemStore,
        checkpoint: systems.Checkpoint,
        make: Callable[[Sequence[str]], Iterable[tuple[str, Tracks | Exception]]],
    ) -> None:
        """Makes the tracks that are not in the store, and registers a loader for each clip."""
        self._stores[system] = store
        todo = [i for i, inputs in self.fingerprints.items() if not store.has(i, inputs)]
        if todo and not checkpoint.is_loaded:
            with self.progress.step("load model"):
                checkpoint.load()

        if todo:
            with self.progress.step(stage) as advance:
                for number, (clip_id, made) in enumerate(make(todo), start=1):
                    if isinstance(made, WorkdirError):
                        raise made
                    if isinstance(made, Exception):
                        self._failures.add(clip_id, system, stage, made)
                    else:
                        store.put(clip_id, self.fingerprints[clip_id], made)
                    advance(number / len(todo))
        for clip_id, inputs in self.fingerprints.items():
            if store.has(clip_id, inputs):
                self._loaders[system][clip_id] = functools.partial(store.get, clip_id)

    def _each(
        self, step: str, ids: Sequence[str], system: str, stage: str, work: Callable[[str], None]
    ) -> None:
        """Applies `work` to every clip; exceptions are recorded as failures of the clip."""
        with self.progress.step(step) as advance:
            for number, clip_id in enumerate(ids, start=1):
                try:
                    work(clip_id)
                except WorkdirError:
                    raise
                except Exception as error:
                    self._failures.add(clip_id, system, stage, error)
                advance(number / len(ids))

    def _given_tracks(self, clip_id: str) -> Tracks:
        clip = self._footage(clip_id).clip
        return Tracks(clip.speech, clip.background, clip.mixture, clip.generation_s)

    def _true_tracks(self, clip_id: str) -> Tracks:
        return systems.true_tracks(self._footage(clip_id).clip)

    def _shuffled_tracks(self, clip_id: str) -> Tracks:
        speech_of, background_of = (self._clip(OURS, i) for i in self._shuffled_from[clip_id])
        return systems.shuffled_tracks(self._footage(clip_id).clip, speech_of, background_of)

    def _load_clip(self, system: str, clip_id: str) -> Clip:
        return systems.with_tracks(self._footage(clip_id).clip, self._loaders[system][clip_id]())

    # --------------------------------------------------------------------------------------------- scores

    def score(self, has_other: bool, jobs: int) -> None:
        """Runs every metric over every system's clips.

        Args:
            has_other: whether a second checkpoint is scored too.
            jobs: processes that score.
        """
        names = [*self._rows, OTHER] if has_other else list(self._rows)
        with self.progress.step("hash tracks"):
            self._digests = {
                system: {
                    i: clip_digest(self.fingerprints[i], self._clip(system, i)) for i in self._loaders[system]
                }
                for system in names
            }
        for metric in self._metrics:
            reason = missing_requirement(metric)
            if reason is not None:
                self._missing[metric.name] = reason
        known: Mapping[tuple[str, str], Mapping[str, Failure]] = {}
        if jobs > 1:
            known = self._score_in_processes(jobs)
        for metric in self._metrics:
            if metric.name in self._missing:
                continue
            with self.progress.step(f"score {metric.name}") as advance:
                try:
                    self._score(metric, known, advance)
                except BrokenMetricError as broken:
                    self._missing[metric.name] = f"fails on every clip: {broken}"
            if metric.weights_sha256:
                self._scores.put_weights(metric)
            else:
                metric.weights_sha256 = self._scores.get_weights(metric)

    def _digests_for(self, metric: Metric) -> dict[str, dict[str, str]]:
        """`_digests` of the systems that the metric scores."""
        has_floor = any(figure.paired_floor for figure in metric.figures)
        return {system: d for system, d in self._digests.items() if has_floor or system != SHUFFLED}

    def _score_in_processes(self, jobs: int) -> Mapping[tuple[str, str], Mapping[str, Failure]]:
        """Adds scores of the metrics without JAX to the store.

        Returns:
            (name of the metric, system) -> id -> why a clip has no score.
        """
        metrics = [m for m in self._metrics if not m.uses_jax and m.name not in self._missing]
        ahead = ScoringAhead({metric: self._digests_for(metric) for metric in metrics}, self._scores)
        if len(ahead.ids) > 1:
            with self.progress.step(f"score in {min(jobs, len(ahead.ids))} processes") as advance:
                ahead.run(self._clip, jobs, advance)
        return ahead.failures

    def _score(
        self,
        metric: Metric,
        known: Mapping[tuple[str, str], Mapping[str, Failure]],
        advance: Callable[[float], None],
    ) -> None:
        chosen = self._digests_for(metric)
        total, done = sum(map(len, chosen.values())), 0

        def on_clip() -> None:
            nonlocal done
            done += 1
            advance(done / total)

        for system, of_clips in chosen.items():
            load = functools.partial(self._clip, system)
            failed = known.get((metric.name, system), {})
            found = score_system(
                metric, system, of_clips, load, self._scores, self._failures, on_clip, failed
            )
            for clip_id, values in found.items():
                if system == SHUFFLED:
                    values = {f.name: values[f.name] for f in metric.figures if f.paired_floor}
                self._values[system].setdefault(clip_id, {}).update(values)

    # -------------------------------------------------------------------------------------------- results

    def results(self) -> dict[str, Any]:
        """The results without "against"."""
        self._metric_digests = {metric.name: metric_digest(metric) for metric in self._metrics}
        groups: dict[str, list[str]] = collections.defaultdict(list)
        for clip_id in self.fingerprints:
            groups[self._footage(clip_id).clip.group].append(clip_id)
        entries = {}
        for metric in self._metrics:
            for figure in metric.figures:
                if metric.name in self._missing:
                    entries[figure.name] = table.missing_entry(metric, figure, self._missing[metric.name])
                    continue

                def on_error(system: str, error: Exception, name: str = figure.name) -> None:
                    self._failures.add("", system, f"figure {name}", error)

                entries[figure.name] = table.figure_entry(metric, figure, self._values, groups, on_error)
        return {
            "schema": SCHEMA,
            "suite": self._suite.name,
            "protocol": self._protocol(self._checkpoint),
            "workdir": str(self._workdir.resolve()),
            "num_clips": len(self._suite.ids),
            "num_scored": len(self._loaders[OURS]),
            "failures": self._failures.entries,
            "missing_media": [vars(missing) for missing in self._suite.missing_media],
            "metrics": entries,
            "clips": [self._clip_entry(clip_id) for clip_id in self.fingerprints],
            "against": None,
        }

    def _protocol(self, checkpoint: systems.Checkpoint | None) -> dict[str, Any]:
        named = checkpoint.protocol() if checkpoint else None
        settings = checkpoint.settings() if checkpoint else {}
        return {
            "systems": systems.describe(named),
            "package": f"dualdub-jax {__version__}",
            "seed": settings.get("seed"),
            "checkpoint": named,
            "sampling": settings.get("sampling"),
            "bootstrap": {"level": bootstrap.LEVEL, "method": bootstrap.METHOD, "seed": bootstrap.SEED},
            "suite": self._suite.protocol(),
        }

    def _clip_entry(self, clip_id: str) -> dict[str, Any]:
        footage = self._footage(clip_id)
        clip = footage.clip
        speech_of, background_of = self._shuffled_from.get(clip_id, (None, None))
        measured = [metric for metric in self._metrics if metric.name not in self._missing]
        figures = {
            system: table.clip_figures(measured, self._values[system].get(clip_id, {}))
            for system in SYSTEMS
            if clip_id in self._loaders[system]
        }
        digest = self._digests.get(OURS, {}).get(clip_id)
        return {
            "id": clip_id,
            "group": clip.group,
            "text": clip.text,
            "duration_s": clip.duration_s,
            "figures": figures,
            "files": self._files(clip_id, footage),
            "shuffled_from": {"speech": speech_of, "background": background_of} if speech_of else None,
            "notes": footage.notes,
            "fingerprint": self.fingerprints[clip_id],
            "scores": {m.name: score_key(self._metric_digests[m.name], digest) for m in measured if digest},
        }

    def _files(self, clip_id: str, footage: Footage) -> dict[str, Any]:
        tracks = {kind: dict(footage.files.get(kind, {})) for kind in ("speech", "background", "mix")}
        for system, store in self._stores.items():
            if clip_id in self._loaders[system]:
                for kind in ("speech", "background"):
                    path = store.path(clip_id, f"{kind}.flac")
                    if path.is_file():
                        tracks[kind][system] = path
        files: dict[str, Any] = {
            kind: {system: self._shown(path) for system, path in paths.items()}
            for kind, paths in tracks.items()
        }
        for name, path in (("video", footage.video), ("voice", footage.voice)):
            if path is not None:
                files[name] = self._shown(path)
        return files

    def _shown(self, path: pathlib.Path) -> str:
        path, workdir = path.resolve(), self._workdir.resolve()
        return str(path.relative_to(workdir)) if path.is_relative_to(workdir) else str(path)

    def against(
        self, other: Other, past: PastRun | None, other_checkpoint: systems.Checkpoint | None
    ) -> dict[str, Any]:
        """The entry "against" of the results.

        Args:
            other: the comparison.
            past: its scores, if it is an earlier run.
            other_checkpoint: its checkpoint otherwise.
        """
        ours = self._values[OURS]
        if past is None:
            ids = [clip_id for clip_id in self._loaders[OURS] if clip_id in self._loaders[OTHER]]
        else:
            ids = [clip_id for clip_id in self._loaders[OURS] if clip_id in set(past.ids)]
        entries = {}
        for metric in self._metrics:
            theirs = self._values[OTHER] if past is None else past.values(metric)
            for figure in metric.figures:
                reason = self._missing.get(metric.name)
                if reason is None and past is not None:
                    reason = past.why_not(figure.name, metric)
                shared = [] if reason else ids
                entries[figure.name] = compare(figure, ours, theirs, shared)
                if reason:
                    entries[figure.name]["missing"] = reason
        if past is not None:
            past.close()
        return {
            "name": other.name,
            "kind": other.kind,
            "protocol": past.protocol if past else self._protocol(other_checkpoint),
            "num_clips": len(ids),
            "metrics": entries,
        }
