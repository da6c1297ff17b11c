"""A cache of scores, keyed by everything they depend on: the metric's version and the clip's contents.

A rerun scores new clips only; a change of a metric, checkpoint or film invalidates just its own scores. The
cache is one SQLite file, consistent after every clip even if the run is interrupted.
"""

import hashlib
import io
import json
import pathlib
import sqlite3
from collections.abc import Mapping

import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import Metric, Value
from dualdub_jax.evaluation.run.stem_store import WorkdirError
from dualdub_jax.evaluation.suites.suite import update_with_audio

Values = dict[str, Value]  # of one clip, by figure


class ScoreStore:
    """An on-disk dictionary: key -> the values of one clip by one metric."""

    def __init__(self, path: pathlib.Path) -> None:
        """Opens the file, or creates it.

        Args:
            path: of the SQLite file.

        Raises:
            WorkdirError: it cannot be opened or created.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path)
            # Survives a killed process; a disk sync after each clip would add minutes to a run.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, figures TEXT, arrays BLOB)"
            )
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS weights (metric TEXT PRIMARY KEY, sha256 TEXT)"
            )
        except (OSError, sqlite3.Error) as error:
            raise WorkdirError(
                f"{path}: cannot be used ({error}); remove it or choose another --workdir"
            ) from error

    def get(self, key: str) -> Values | None:
        """The values stored under `key`; None if there are none."""
        row = self._database.execute("SELECT figures, arrays FROM scores WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        with np.load(io.BytesIO(row[1])) as arrays:
            return {name: arrays.get(name) for name in json.loads(row[0])}

    def put(self, key: str, values: Mapping[str, Value]) -> None:
        """Stores values under `key`.

        Raises:
            WorkdirError: the file cannot be written.
        """
        file = io.BytesIO()
        np.savez(file, **{name: np.asarray(value) for name, value in values.items() if value is not None})
        self._write("scores", key, json.dumps(list(values)), file.getvalue())

    def get_weights(self, metric: Metric) -> str:
        """The digest of the weights with which the metric last scored; "" if unknown."""
        row = self._database.execute(
            "SELECT sha256 FROM weights WHERE metric = ?", (metric_digest(metric),)
        ).fetchone()
        return row[0] if row else ""

    def put_weights(self, metric: Metric) -> None:
        """Stores the digest of the metric's weights, for runs in which every score is cached.

        Raises:
            WorkdirError: the file cannot be written.
        """
        self._write("weights", metric_digest(metric), metric.weights_sha256)

    def _write(self, table: str, *row: str | bytes) -> None:
        try:
            with self._database:
                marks = ", ".join("?" * len(row))
                self._database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)
        except sqlite3.Error as error:
            raise WorkdirError(
                f"{self.path}: cannot be written ({error}); choose another --workdir"
            ) from error

    def close(self) -> None:
        self._database.close()


def clip_digest(footage_fingerprint: str, clip: Clip) -> str:
    """Hex digest of everything that a metric can read from a clip.

    Args:
        footage_fingerprint: of the film and its annotations, see `Footage.fingerprint`.
        clip: with a system's soundtrack.
    """
    digest = hashlib.sha256(f"{footage_fingerprint} {clip.generation_s!r}".encode())
    update_with_audio(digest, clip.speech, clip.background, clip.mixture)
    return digest.hexdigest()[:32]


def metric_digest(metric: Metric) -> str:
    """Hex digest of everything that a metric's values depend on besides the clip."""
    packages = [f"{r.distribution} {r.version()}" for r in metric.requirements]
    figures = [figure.name for figure in metric.figures]
    text = json.dumps([metric.name, metric.version, metric.settings(), figures, packages])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def score_key(of_metric: str, of_clip: str) -> str:
    """The cache key of one clip's values, from `metric_digest` and `clip_digest`."""
    return hashlib.sha256(f"{of_metric} {of_clip}".encode()).hexdigest()[:32]
