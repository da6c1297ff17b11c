"""Paired comparison for `--against`: with a second checkpoint, or with an earlier run."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.metric import Figure, Metric
from dualdub_jax.evaluation.contracts.results import read_results
from dualdub_jax.evaluation.run.score_store import ScoreStore, Values
from dualdub_jax.evaluation.statistics.bootstrap import Estimate, paired_difference
from dualdub_jax.stores.failures import reached
from dualdub_jax.stores.path import StorePath

SCORES_FILE = "scores.sqlite"
RESULTS_FILE = "results.json"


@dataclasses.dataclass(frozen=True)
class Other:
    """The other system of a comparison.

    Attributes:
        name: as given by the user.
        kind: "checkpoint": to be run on the same clips; "run": an earlier evaluation with its scores.
        results: of the run; None for a checkpoint.
    """

    name: str
    kind: Literal["checkpoint", "run"]
    results: dict[str, Any] | None = None


def find_other(path: StorePath) -> Other:
    """Identifies the argument of `--against`: a checkpoint folder, a run's JSON, or its working directory.

    Raises:
        UserError: it is none of these, or the run's scores no longer exist.
    """
    reached(path)
    if path.is_dir() and (path / RESULTS_FILE).is_file():
        results = read_results(path / RESULTS_FILE)
        results["workdir"] = str(path)  # it may have been moved
    elif path.is_file():
        results = read_results(path)
    elif _is_checkpoint(path):
        return Other(str(path), "checkpoint")
    else:
        raise UserError(
            f"--against {path}: neither a checkpoint folder nor the JSON or the working directory of another "
            "evaluation; give one of them"
        )
    if not (pathlib.Path(results["workdir"]) / SCORES_FILE).is_file():
        raise UserError(
            f"--against {path}: its scores were in {results['workdir']}, which no longer exists; evaluate "
            "that system again, or give its working directory"
        )
    return Other(str(path), "run", results)


def _is_checkpoint(path: StorePath) -> bool:
    try:
        return "format_version" in json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


class PastRun:
    """Scores of an earlier run, for the clips that both runs share."""

    def __init__(self, other: Other, suite_name: str, fingerprints: Mapping[str, str]) -> None:
        """Finds the shared clips.

        Args:
            other: of kind "run".
            suite_name: of this run.
            fingerprints: id -> `Footage.fingerprint` of this run's clips.

        Raises:
            UserError: it is a run of another suite, or shares no clip (same film, text, voice and truth).
        """
        results = other.results
        if results["suite"] != suite_name:
            raise UserError(
                f"--against {other.name}: evaluates the suite {results['suite']}, but this run evaluates "
                f"{suite_name}; compare runs of one suite"
            )
        self._figures = results["metrics"]
        self.protocol = results["protocol"]
        self._keys = {
            clip["id"]: clip["scores"]
            for clip in results["clips"]
            if fingerprints.get(clip["id"]) == clip["fingerprint"]
        }
        if not self._keys:
            raise UserError(
                f"--against {other.name}: none of its {len(results['clips'])} clips occurs in this run with "
                "the same film, text, voice and truth; evaluate both systems with the same settings"
            )
        self._store = ScoreStore(pathlib.Path(results["workdir"]) / SCORES_FILE)

    @property
    def ids(self) -> Sequence[str]:
        """Of the shared clips."""
        return list(self._keys)

    def values(self, metric: Metric) -> dict[str, Values]:
        """id -> the metric's values in the earlier run."""
        keys = {clip_id: keys.get(metric.name) for clip_id, keys in self._keys.items()}
        found = {clip_id: self._store.get(key) for clip_id, key in keys.items() if key}
        return {clip_id: values for clip_id, values in found.items() if values is not None}

    def why_not(self, figure: str, metric: Metric) -> str | None:
        """Why the figures of the two runs are not comparable; None if they are."""
        earlier = self._figures.get(figure)
        if earlier is None:
            return "not measured in the other run; evaluate that system again with --metrics of both"
        if earlier.get("missing"):
            return f"not measured in the other run: {earlier['missing']}"
        if earlier["metric_version"] != metric.version:
            return (
                f"metric version {earlier['metric_version']} in the other run, {metric.version} in this one; "
                "evaluate that system again"
            )
        if earlier["weights_sha256"] != metric.weights_sha256:
            return "scored with other weights in the other run; evaluate that system again"
        return None

    def close(self) -> None:
        self._store.close()


def compare(
    figure: Figure, ours: Mapping[str, Values], other: Mapping[str, Values], ids: Sequence[str]
) -> dict[str, Any]:
    """One entry of "against": the paired difference, ours minus other.

    Args:
        figure: to compare.
        ours: id -> values.
        other: id -> values.
        ids: of the shared clips.
    """
    ours_value, other_value, difference = paired_difference(
        [ours.get(clip_id, {}).get(figure.name) for clip_id in ids],
        [other.get(clip_id, {}).get(figure.name) for clip_id in ids],
        figure,
    )
    return {
        "ours": ours_value,
        "other": other_value,
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "n": difference.n,
        "unit": figure.unit,
        "better": figure.better,
        "verdict": _verdict(figure, difference),
        "smallest_difference": figure.least_of_interest,
    }


def _verdict(figure: Figure, difference: Estimate) -> str:
    low, high = difference.low, difference.high
    if not (low > 0 or high < 0):  # true for NaN bounds too
        return "no clear difference"
    if abs(difference.value) < figure.least_of_interest:
        return "too small to matter"
    if figure.better == "neither":
        return "differs"
    return "better" if (low > 0) == (figure.better == "higher") else "worse"
