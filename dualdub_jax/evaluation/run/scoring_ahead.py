"""Fills the cache of scores clip by clip in several processes, before figures are made metric by metric."""

import collections
from collections.abc import Callable, Iterator, Mapping

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import Metric
from dualdub_jax.evaluation.run.failures import Failure
from dualdub_jax.evaluation.run.score_store import ScoreStore, metric_digest, score_key
from dualdub_jax.evaluation.run.scoring import is_hopeless
from dualdub_jax.evaluation.run.workers import Scored, Task, score_in_processes


class ScoringAhead:
    """The scores that the cache lacks.

    Attributes:
        ids: of the clips that lack any, in order.
        failures: (name of the metric, system) -> id -> why a clip has no score.
    """

    def __init__(self, digests: Mapping[Metric, Mapping[str, Mapping[str, str]]], store: ScoreStore) -> None:
        """Looks for what is cached.

        Args:
            digests: metric -> system -> id -> `clip_digest` of its clip.
            store: cached scores; new ones are added.
        """
        self._store, self._metrics = store, {metric.name: metric for metric in digests}
        self.failures: dict[tuple[str, str], dict[str, Failure]] = collections.defaultdict(dict)
        self._reasons: dict[str, list[str]] = collections.defaultdict(list)  # of metrics without a success
        self._successful: set[str] = set()
        # id -> (name of the metric, system) -> key of the score.
        self._todo: dict[str, dict[tuple[str, str], str]] = collections.defaultdict(dict)
        for metric, of_systems in digests.items():
            of_metric = metric_digest(metric)
            for system, of_clips in of_systems.items():
                for clip_id, digest in of_clips.items():
                    key = score_key(of_metric, digest)
                    if store.get(key) is None:
                        self._todo[clip_id][metric.name, system] = key
        self.ids = list(self._todo)

    def run(self, load: Callable[[str, str], Clip], jobs: int, advance: Callable[[float], None]) -> None:
        """Scores.

        Args:
            load: system, id -> the clip with the system's soundtrack.
            jobs: processes.
            advance: called with the part that is done.

        Raises:
            UserError: see `score_in_processes`.
        """
        metrics, jobs = list(self._metrics.values()), min(jobs, len(self.ids))
        for number, scored in enumerate(score_in_processes(metrics, self._tasks(load), jobs), start=1):
            self._keep(scored)
            advance(number / len(self.ids))

    def _tasks(self, load: Callable[[str, str], Clip]) -> Iterator[Task]:
        for clip_id in self.ids:
            todo = [(name, system) for name, system in self._todo[clip_id] if not self._is_hopeless(name)]
            clips = {}
            for system in {system for _, system in todo}:
                try:
                    clips[system] = load(system, clip_id)
                except Exception as error:
                    for name, of_system in todo:
                        if of_system == system:
                            self.failures[name, system][clip_id] = Failure.of(error)
            yield Task(clip_id, clips, [(name, system) for name, system in todo if system in clips])

    def _is_hopeless(self, name: str) -> bool:
        """Whether a metric is broken; the command then finds this out by itself and says so."""
        return name not in self._successful and is_hopeless(self._reasons[name])

    def _keep(self, scored: Scored) -> None:
        for (name, system), outcome in scored.outcomes.items():
            if isinstance(outcome, Failure):
                self.failures[name, system][scored.id] = outcome
                self._reasons[name].append(outcome.text)
            else:
                self._successful.add(name)
                self._store.put(self._todo[scored.id][name, system], outcome)
        for name, digest in scored.weights_sha256.items():
            self._metrics[name].weights_sha256 = digest or self._metrics[name].weights_sha256
