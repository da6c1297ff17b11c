"""Reduces values of clips to the entries of "metrics" in the results, see `results`."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dualdub_jax.evaluation.contracts.metric import Figure, Metric
from dualdub_jax.evaluation.contracts.results import OURS, ROW_KEYS, SYSTEMS
from dualdub_jax.evaluation.run.score_store import Values
from dualdub_jax.evaluation.statistics import bootstrap

_FEW_RESAMPLES = 1000  # figures with fewer resamples are slow and not computed by group
NOT_APPLICABLE = "no clip has the inputs of this figure"
NOT_DETERMINED = "undefined: too few clips, or no variance among them"


def figure_entry(
    metric: Metric,
    figure: Figure,
    values: Mapping[str, Mapping[str, Values]],
    groups: Mapping[str, Sequence[str]],
    on_error: Callable[[str, Exception], None],
) -> dict[str, Any]:
    """One entry of "metrics".

    Args:
        metric: the figure's.
        figure: of which the entry is.
        values: system -> id -> values.
        groups: group -> ids of its clips.
        on_error: receives the system and the exception of a figure that cannot be computed.
    """

    def row(system: str, ids: Sequence[str] | None = None) -> dict[str, Any]:
        of_clips = values.get(system, {})
        chosen = of_clips if ids is None else [clip_id for clip_id in ids if clip_id in of_clips]
        try:
            found = bootstrap.estimate([of_clips[i].get(figure.name) for i in chosen], figure)
        except Exception as error:
            on_error(system, error)
            found = bootstrap.NONE
        return dataclasses.asdict(found)

    rows = {system: row(system) for system in SYSTEMS}
    entry = dict(rows[OURS])
    entry |= {key: rows[system]["value"] for system, key in ROW_KEYS.items()}
    entry["rows"] = rows
    entry["groups"] = {}
    if figure.num_resamples >= _FEW_RESAMPLES and len(groups) > 1:
        parts = {group: row(OURS, ids) for group, ids in groups.items()}
        entry["groups"] = {group: part for group, part in parts.items() if part["n"]}
    entry |= about(metric, figure)
    if 0 < entry["n"] < figure.feature_dim:
        entry["note"] = (
            f"{entry['n']} clips are fewer than the {figure.feature_dim} dimensions of its features: biased "
            "upwards; compare rows of equal n only"
        )
    if not any(found["n"] for found in rows.values()):
        entry["missing"] = NOT_APPLICABLE
    elif all(math.isnan(found["value"]) for found in rows.values()):
        entry["missing"] = NOT_DETERMINED
    return entry


def missing_entry(metric: Metric, figure: Figure, reason: str) -> dict[str, Any]:
    """One entry of "metrics" for a figure that was not measured.

    Args:
        metric: the figure's.
        figure: of which the entry is.
        reason: shown in place of the figure.
    """
    none = dataclasses.asdict(bootstrap.NONE)
    entry = none | dict.fromkeys(ROW_KEYS.values())
    entry |= {"rows": {system: dict(none) for system in SYSTEMS}, "groups": {}}
    return entry | about(metric, figure) | {"missing": reason}


def about(metric: Metric, figure: Figure) -> dict[str, Any]:
    """The figure's definition, without its numbers."""
    return {
        "unit": figure.unit,
        "better": figure.better,
        "about": figure.about,
        "metric": metric.name,
        "metric_version": metric.version,
        "weights_sha256": metric.weights_sha256,
        "packages": {r.distribution: r.version() for r in metric.requirements},
    }


def clip_figures(metrics: Sequence[Metric], values: Values) -> dict[str, float | None]:
    """A clip's numbers for the report, by figure name; None where a figure does not apply."""
    return {
        figure.name: None if (value := values.get(figure.name)) is None else float(figure.clip_value(value))
        for metric in metrics
        for figure in metric.figures
    }
