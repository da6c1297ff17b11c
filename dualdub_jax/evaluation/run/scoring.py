"""Runs metrics over clips: cached scores are reused, failing clips are reported and excluded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import Metric
from dualdub_jax.evaluation.run.score_store import ScoreStore, Values, metric_digest, score_key
from dualdub_jax.evaluation.run.stem_store import WorkdirError

_BATCH = 8  # clips per call of a metric
_HOPELESS = 8  # clips that all fail with the same error, none succeeding: the metric itself is broken


class Failures(Protocol):
    """Receives failures: see `failures.FailureLog`."""

    def add(self, clip_id: str, system: str, stage: str, error: Exception) -> None: ...


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
    for begin in range(0, len(todo), _BATCH):
        for clip_id, outcome in _score(metric, todo[begin : begin + _BATCH], load).items():
            if isinstance(outcome, Exception):
                failures.add(clip_id, system, f"score {metric.name}", outcome)
                reasons.append(describe_error(outcome))
            else:
                values[clip_id] = outcome
                store.put(keys[clip_id], outcome)
            on_clip()
        if len(reasons) >= _HOPELESS and len(set(reasons)) == 1 and not any(values.values()):
            raise BrokenMetricError(reasons[0])
    return {clip_id: found for clip_id, found in values.items() if found is not None}


def describe_error(error: Exception) -> str:
    """One line for the report; a `UserError` is shown without the exception's name."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _score(metric: Metric, ids: Sequence[str], load: Callable[[str], Clip]) -> dict[str, Values | Exception]:
    """Scores clips as a batch, or one by one if the batch fails, so that only the failing clips are lost."""
    try:
        found = metric.score([load(clip_id) for clip_id in ids])
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
            return {ids[0]: error}
        return {clip_id: _score(metric, [clip_id], load)[clip_id] for clip_id in ids}
