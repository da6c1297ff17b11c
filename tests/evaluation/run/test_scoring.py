"""Metrics over clips: known scores are not computed again, culprits are found, broken metrics end early."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import Metric, Value
from dualdub_jax.evaluation.run.failures import FailureLog
from dualdub_jax.evaluation.run.score_store import ScoreStore
from dualdub_jax.evaluation.run.scoring import BrokenMetricError, missing_requirement, score_system
from dualdub_jax.evaluation.run.stem_store import WorkdirError
from tests.evaluation.toy import Absent, Level, track


@pytest.fixture
def store(tmp_path) -> ScoreStore:
    return ScoreStore(tmp_path / "scores.sqlite")


@pytest.fixture
def failures(tmp_path) -> FailureLog:
    return FailureLog(tmp_path / "errors.log")


def load(clip_id: str) -> Clip:
    return Clip(id=clip_id, num_samples=16_000, speech=track(0.2), true_speech=track(0.1))


def score(metric: Metric, ids: Sequence[str], store: ScoreStore, failures: FailureLog, load=load):
    digests = {clip_id: f"digest of {clip_id}" for clip_id in ids}
    done = []
    found = score_system(metric, "ours", digests, load, store, failures, lambda: done.append(None))
    assert len(done) == len(ids)
    return found


def test_each_clip_is_scored_once_and_then_known(store, failures):
    metric, ids = Level(), [f"c{i}" for i in range(11)]
    first = score(metric, ids, store, failures)
    assert metric.scored == ids and list(first) == ids
    again = score(metric, [*ids, "new"], store, failures)
    assert metric.scored == [*ids, "new"]
    np.testing.assert_array_equal(again["c3"]["level_ratio"], first["c3"]["level_ratio"])
    score(Level("2"), ids, store, failures)
    assert failures.entries == []


def test_a_failing_clip_is_named_and_the_others_keep_their_scores(store, failures, tmp_path):
    metric = Level(fails_on=["c4"])
    found = score(metric, [f"c{i}" for i in range(10)], store, failures)
    assert set(found) == {f"c{i}" for i in range(10)} - {"c4"}
    assert failures.entries == [
        {"id": "c4", "system": "ours", "stage": "score level", "error": "RuntimeError: cannot score c4"}
    ]
    assert "Traceback" in (tmp_path / "errors.log").read_text()
    metric.fails_on = ()
    assert "c4" in score(metric, ["c4"], store, failures)  # mended: tried again


def test_a_clip_that_cannot_be_loaded_is_a_failure_of_that_clip(store, failures):
    def torn(clip_id):
        if clip_id == "c1":
            raise OSError("torn")
        return load(clip_id)

    assert set(score(Level(), ["c0", "c1", "c2"], store, failures, torn)) == {"c0", "c2"}
    assert failures.entries[0]["error"] == "OSError: torn"


def test_a_metric_that_always_fails_alike_is_given_up(store, failures):
    class Broken(Level):
        def score(self, clips):
            raise ImportError("libtorch.so is missing")

    with pytest.raises(BrokenMetricError, match=r"ImportError: libtorch\.so is missing"):
        score_system(
            Broken(), "ours", {f"c{i}": str(i) for i in range(100)}, load, store, failures, lambda: None
        )
    assert len(failures.entries) == 8


def test_values_that_do_not_match_the_clips_are_a_failure(store, failures):
    class Short(Level):
        def score(self, clips: Sequence[Clip]) -> Mapping[str, list[Value]]:
            return {figure.name: [] for figure in self.figures}

    assert score(Short(), ["c0"], store, failures) == {}
    assert "0 values of level_error for 1 clips" in failures.entries[0]["error"]


def test_a_full_disk_ends_the_run(store, failures, monkeypatch):
    def full(key, values):
        raise WorkdirError("scores.sqlite: cannot be written (disk full)")

    monkeypatch.setattr(store, "put", full)
    with pytest.raises(WorkdirError):
        score(Level(), ["c0"], store, failures)


def test_the_first_missing_package_is_named():
    assert missing_requirement(Level()) is None
    assert missing_requirement(Absent()) == (
        "not installed: pip install 'dualdub-jax[eval]' (brings no-such-package)"
    )
