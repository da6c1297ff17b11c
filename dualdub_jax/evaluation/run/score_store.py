"""Scores of clips, kept by what they depend on: the metric's version and all that a clip holds.

So a rerun scores only what is new, and a change of one metric, checkpoint or film has just its own scores
computed again. One SQLite file: whole after every clip, whatever interrupts the run.
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
    """A dictionary on disk: key -> the values of one clip by one metric."""

    def __init__(self, path: pathlib.Path) -> None:
        """Opens the file, or makes it.

        Raises:
            WorkdirError: it cannot be used.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path)
            # Killed processes lose nothing; waiting for the disk after each clip would take minutes.
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
        """The values under `key`; None if there are none."""
        row = self._database.execute("SELECT figures, arrays FROM scores WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        with np.load(io.BytesIO(row[1])) as arrays:
            return {name: arrays.get(name) for name in json.loads(row[0])}

    def put(self, key: str, values: Mapping[str, Value]) -> None:
        """Keeps values under `key`.

        Raises:
            WorkdirError: the file cannot be written.
        """
        file = io.BytesIO()
        np.savez(file, **{name: np.asarray(value) for name, value in values.items() if value is not None})
        self._write("scores", key, json.dumps(list(values)), file.getvalue())

    def get_weights(self, metric: Metric) -> str:
        """The digest of the weights that the metric had when it last scored; "" if not known."""
        row = self._database.execute(
            "SELECT sha256 FROM weights WHERE metric = ?", (metric_digest(metric),)
        ).fetchone()
        return row[0] if row else ""

    def put_weights(self, metric: Metric) -> None:
        """Keeps the digest of the metric's weights, for runs in which every score is known already.

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
    """Hex digest of all that a metric can see of a clip.

    Args:
        footage_fingerprint: of the film and what is known of it, see `Footage.fingerprint`.
        clip: with a system's soundtrack.
    """
    digest = hashlib.sha256(f"{footage_fingerprint} {clip.generation_s!r}".encode())
    update_with_audio(digest, clip.speech, clip.background, clip.mixture)
    return digest.hexdigest()[:32]


def metric_digest(metric: Metric) -> str:
    """Hex digest of all that a metric's values depend on beside the clip."""
    packages = [f"{r.distribution} {r.version()}" for r in metric.requirements]
    figures = [figure.name for figure in metric.figures]
    text = json.dumps([metric.name, metric.version, metric.settings(), figures, packages])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def score_key(of_metric: str, of_clip: str) -> str:
    """Key of one metric's values of one clip, given `metric_digest` and `clip_digest`."""
    return hashlib.sha256(f"{of_metric} {of_clip}".encode()).hexdigest()[:32]
