"""Runs metrics over clips: cached scores are reused, failing clips are reported and excluded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from threadpoolctl import threadpool_limits

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import Metric
from dualdub_jax.evaluation.run.failures import Failure
from dualdub_jax.evaluation.run.score_store import ScoreStore, Values, metric_digest, score_key
from dualdub_jax.evaluation.run.stem_store import WorkdirError

_BATCH = 8  # clips per call of a metric
_HOPELESS = 8  # clips that all fail with the same error, none succeeding: the metric itself is broken


class Failures(Protocol):
    """Receives failures: see `failures.FailureLog`."""

    def add(self, clip_id: str, system: str, stage: str, error: Failure) -> None: ...


class BrokenMetricError(Exception):
    """A metric fails on every clip with the same error, which is the message."""


def missing_requirement(metric: Metric) -> str | None:
    """How to get the first package or weights that are missing, in one line; None if all are there."""
    return next((text for r in metric.requirements if (text := r.missing())), None)


def score_system(
    metric: Metric,
    system: str,
    digests: Mapping[str, str],
    load: Callable[[str], Clip],
    store: ScoreStore,
    failures: Failures,
    on_clip: Callable[[], None],
    known: Mapping[str, Failure] | None = None,
) -> dict[str, Values]:
    """Scores all clips of one system by one metric.

    Args:
        metric: whose requirements are installed.
        system: its name, for messages.
        digests: id -> `clip_digest` of its clip.
        load: id -> the clip with the system's soundtrack.
        store: cached scores; new ones are added.
        failures: receives errors; a failing clip has no values and is scored again in the next run.
        on_clip: called after each clip, for progress.
        known: id -> the failure of a clip that another process has tried to score in this run.

    Returns:
        id -> figure -> value, of the clips that could be scored.

    Raises:
        BrokenMetricError: the metric fails on every clip with the same error.
    """
    of_metric = metric_digest(metric)
    keys = {clip_id: score_key(of_metric, digest) for clip_id, digest in digests.items()}
    values = {clip_id: store.get(key) for clip_id, key in keys.items()}
    todo = [clip_id for clip_id, found in values.items() if found is None]
    for _ in range(len(keys) - len(todo)):
        on_clip()
    reasons: list[str] = []
    known = known or {}
    for begin in range(0, len(todo), _BATCH):
        batch = todo[begin : begin + _BATCH]
        new = [clip_id for clip_id in batch if clip_id not in known]
        outcomes = {**known, **score_clips(metric, new, load)}
        for clip_id in batch:
            outcome = outcomes[clip_id]
            if isinstance(outcome, Failure):
                failures.add(clip_id, system, f"score {metric.name}", outcome)
                reasons.append(outcome.text)
            else:
                values[clip_id] = outcome
                store.put(keys[clip_id], outcome)
            on_clip()
        if is_hopeless(reasons) and not any(values.values()):
            raise BrokenMetricError(reasons[0])
    return {clip_id: found for clip_id, found in values.items() if found is not None}


def is_hopeless(reasons: Sequence[str]) -> bool:
    """Whether these failures, without a success, mean that the metric itself is broken."""
    return len(reasons) >= _HOPELESS and len(set(reasons)) == 1


def score_clips(
    metric: Metric, ids: Sequence[str], load: Callable[[str], Clip]
) -> dict[str, Values | Failure]:
    """Scores clips as a batch, or one by one if the batch fails, so that only the failing clips are lost.

    Args:
        metric: whose requirements are installed.
        ids: of the clips.
        load: id -> the clip.

    Returns:
        id -> its values by figure, or why there are none.

    Raises:
        WorkdirError: of `load`.
    """
    if not ids:
        return {}
    try:
        clips = [load(clip_id) for clip_id in ids]
        # The order of a BLAS sum depends on its threads, and scores must not depend on the machine.
        with threadpool_limits(1, user_api="blas"):
            found = metric.score(clips)
        for figure in metric.figures:
            if len(found[figure.name]) != len(ids):
                raise ValueError(f"{len(found[figure.name])} values of {figure.name} for {len(ids)} clips")
        return {
            clip_id: {figure.name: found[figure.name][i] for figure in metric.figures}
            for i, clip_id in enumerate(ids)
        }
    except WorkdirError:
        raise
    except Exception as error:
        if len(ids) == 1:
            return {ids[0]: Failure.of(error)}
        return {clip_id: score_clips(metric, [clip_id], load)[clip_id] for clip_id in ids}
