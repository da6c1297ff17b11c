"""A whole evaluation with sound that is arithmetic: rows, resuming, invalidation, comparison."""

import json

import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.results import read_results, to_json
from dualdub_jax.evaluation.run.runner import evaluate
from dualdub_jax.evaluation.statistics.against import find_other
from tests.evaluation.example_results import example_results
from tests.evaluation.toy import Absent, Level, NeedsWorld, ToySuite


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "work"


def test_rows_of_all_systems(workdir):
    results = evaluate(ToySuite(offset=0.01), [Level()], workdir)
    error = results["metrics"]["level_error"]
    assert error["value"] == pytest.approx(0.01, abs=1e-6) and error["n"] == 6
    assert error["low"] == pytest.approx(0.01, abs=1e-6) and error["high"] == pytest.approx(0.01, abs=1e-6)
    assert error["ceiling"] == 0.0 and error["codec_ceiling"] is None
    assert error["floor"] > 0.015
    assert error["rows"]["shuffled"]["n"] == error["rows"]["true"]["n"] == 6
    assert error["rows"]["shuffled"]["low"] < error["floor"] < error["rows"]["shuffled"]["high"]
    assert set(error["groups"]) == {"odd", "even"} and error["groups"]["odd"]["n"] == 3
    correlation = results["metrics"]["level_correlation"]
    assert correlation["value"] == pytest.approx(1.0) and correlation["floor"] < 0.9
    assert results["num_clips"] == results["num_scored"] == 6 and results["failures"] == []


def test_a_figure_without_a_floor_has_none(workdir):
    results = evaluate(ToySuite(), [Level()], workdir)
    assert results["metrics"]["level_ratio"]["floor"] is None
    assert results["metrics"]["level_ratio"]["rows"]["shuffled"]["n"] == 0
    assert results["clips"][0]["figures"]["shuffled"]["level_ratio"] is None


def test_rows_that_are_not_asked_for_are_not_scored(workdir):
    results = evaluate(ToySuite(), [Level()], workdir, rows=("true", "shuffled"))
    rows = results["metrics"]["level_error"]["rows"]
    assert {system: row["n"] for system, row in rows.items()} == {
        "ours": 0,
        "true": 6,
        "codec": 0,
        "shuffled": 6,
    }
    assert results["clips"][0]["figures"]["ours"]["level_error"] is None
    # What was scored is the same in a run of all rows.
    whole = evaluate(ToySuite(), [Level()], workdir)["metrics"]["level_error"]["rows"]
    assert whole["true"] == rows["true"] and whole["shuffled"] == rows["shuffled"] and whole["ours"]["n"] == 6


def test_too_few_films_have_no_floor(workdir):
    results = evaluate(ToySuite(2), [Level()], workdir)
    assert results["metrics"]["level_error"]["floor"] is None
    assert results["clips"][0]["shuffled_from"] is None


def test_what_cannot_be_measured_says_why_and_is_never_a_number(workdir):
    results = evaluate(ToySuite(), [Absent(), NeedsWorld(), Level()], workdir)
    absent, world = results["metrics"]["absent_score"], results["metrics"]["world_score"]
    assert absent["missing"].startswith("not installed: pip install") and absent["value"] is None
    assert world["missing"] == "no clip has the inputs of this figure" and world["n"] == 0
    assert "missing" not in results["metrics"]["level_error"]


def test_a_figure_that_two_clips_do_not_determine_says_so(workdir):
    correlation = evaluate(ToySuite(2), [Level()], workdir)["metrics"]["level_correlation"]
    assert correlation["missing"].startswith("undefined: too few clips") and correlation["n"] == 2


def test_results_are_json_without_nan_and_are_kept_in_the_workdir(workdir):
    results = evaluate(ToySuite(2), [Level(), Absent()], workdir)
    assert "NaN" not in to_json(results)
    assert read_results(workdir / "results.json") == json.loads(to_json(results))


def _keys(value, depth):
    if depth == 0 or not isinstance(value, dict):
        return set()
    return {(key, *rest) for key, item in value.items() for rest in (_keys(item, depth - 1) or {()})}


def test_the_example_that_reports_are_tested_with_has_the_form_of_real_results(workdir):
    real, example = evaluate(ToySuite(), [Level()], workdir), example_results()
    assert list(real) == list(example)
    figure = real["metrics"]["level_error"]
    assert set(figure) == set(example["metrics"]["onset_f1"])
    assert _keys(figure["rows"], 2) | {("codec", "n")} == _keys(example["metrics"]["onset_f1"]["rows"], 2)
    assert set(real["clips"][0]) == set(example["clips"][0])
    assert set(real["protocol"]) == set(example["protocol"])
    failing = evaluate(ToySuite(unreadable=[2]), [Level()], workdir)
    assert set(failing["failures"][0]) == set(example["failures"][0])
    compared = evaluate(ToySuite(), [Level()], workdir, other=find_other(workdir))
    assert set(compared["against"]) == set(example["against"])
    assert set(compared["against"]["metrics"]["level_error"]) == set(example["against"]["metrics"]["wer"])


def test_a_rerun_scores_nothing_again_and_says_the_same(workdir):
    first, metric = evaluate(ToySuite(), [Level()], workdir), Level()
    again = evaluate(ToySuite(), [metric], workdir)
    assert again == first and metric.scored == []


def test_another_version_other_sound_and_more_clips_are_scored_and_nothing_else(workdir):
    evaluate(ToySuite(4), [Level()], workdir)
    newer = Level("2")
    evaluate(ToySuite(4), [newer], workdir)
    assert len(newer.scored) == 12  # ours, true, shuffled
    louder = Level()
    evaluate(ToySuite(4, offset=0.05), [louder], workdir)
    assert len(louder.scored) == 8  # the truth is as it was
    more = Level()
    evaluate(ToySuite(5), [more], workdir)
    assert set(more.scored[:2]) == {"clip-5"}


def test_an_interrupted_run_goes_on_where_it_stopped(workdir):
    class Interrupted(Level):
        def score(self, clips):
            if len(self.scored) >= 8:
                raise KeyboardInterrupt
            return super().score(clips)

    stopped = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        evaluate(ToySuite(20), [stopped], workdir)
    finished = Level()
    results = evaluate(ToySuite(20), [finished], workdir)
    assert len(stopped.scored) + len(finished.scored) == 60
    assert results == evaluate(ToySuite(20), [Level()], workdir / "fresh") | {"workdir": results["workdir"]}


def test_failing_clips_are_recorded_and_the_run_goes_on(workdir):
    results = evaluate(ToySuite(unreadable=[2]), [Level(fails_on=["clip-4"])], workdir)
    assert [f["stage"] for f in results["failures"][:2]] == ["film", "score level"]
    assert results["failures"][0] == {
        "id": "clip-2", "system": "", "stage": "film", "error": "ValueError: film 2 is torn",
    }  # fmt: skip
    assert {f["system"] for f in results["failures"][1:]} == {"ours", "true", "shuffled"}
    assert results["metrics"]["level_error"]["n"] == 4
    assert results["num_clips"] == 6 and results["num_scored"] == 5
    assert "clip-2" not in {clip["id"] for clip in results["clips"]}
    shuffled_from = [name for clip in results["clips"] for name in clip["shuffled_from"].values()]
    assert "clip-2" not in shuffled_from
    assert "film 2 is torn" in (workdir / "errors.log").read_text()


def test_nothing_readable_is_an_error(workdir):
    with pytest.raises(UserError, match="none of the 2 clips can be read; ValueError: film 1 is torn"):
        evaluate(ToySuite(2, unreadable=[1, 2]), [Level()], workdir)


def test_a_figure_that_cannot_be_computed_is_a_failure_and_not_a_number(workdir):
    class Strange(Level):
        figures = (Level.figures[1].__class__("level_error", "", "lower", "", summarise=lambda v: 1 / 0),)

    results = evaluate(ToySuite(), [Strange()], workdir)
    assert results["metrics"]["level_error"]["value"] is None
    assert results["metrics"]["level_error"]["missing"]
    assert results["failures"][0]["stage"] == "figure level_error"


# ------------------------------------------------------------------------------------------ comparison


@pytest.fixture
def other_run(workdir):
    evaluate(ToySuite(offset=0.03), [Level()], workdir / "other")
    return workdir / "other"


def test_against_another_run_pairs_clips(workdir, other_run):
    results = evaluate(ToySuite(offset=0.01), [Level()], workdir, other=find_other(other_run))
    against = results["against"]
    entry = against["metrics"]["level_error"]
    assert against["kind"] == "run" and against["num_clips"] == 6
    assert entry["difference"] == pytest.approx(-0.02, abs=1e-6) and entry["verdict"] == "better"
    assert entry["low"] == pytest.approx(-0.02, abs=1e-6) and entry["n"] == 6
    assert against["metrics"]["level_ratio"]["verdict"] == "differs"
    back = evaluate(ToySuite(offset=0.03), [Level()], workdir, other=find_other(workdir / "results.json"))
    assert back["against"]["metrics"]["level_error"]["verdict"] == "worse"


def test_against_itself_there_is_no_difference(workdir, other_run):
    against = evaluate(ToySuite(offset=0.03), [Level()], workdir, other=find_other(other_run))["against"]
    entry = against["metrics"]["level_error"]
    assert (entry["difference"], entry["verdict"]) == (0.0, "no clear difference")


def test_a_clear_difference_that_is_too_small_is_called_so(workdir, other_run):
    against = evaluate(ToySuite(offset=0.027), [Level()], workdir, other=find_other(other_run))["against"]
    entry = against["metrics"]["level_error"]
    assert entry["high"] < 0 and entry["smallest_difference"] == 0.005
    assert entry["verdict"] == "too small to matter"


def test_only_clips_that_are_the_same_are_paired(workdir, other_run):
    class OtherText(ToySuite):
        def load(self, clip_id):
            footage = super().load(clip_id)
            text = "other words" if clip_id == "clip-3" else "words"
            return footage.__class__(footage.clip.__class__(**{**_fields(footage.clip), "text": text}))

    results = evaluate(OtherText(9), [Level()], workdir, other=find_other(other_run))
    assert results["against"]["num_clips"] == 5


def _fields(clip):
    return {name: getattr(clip, name) for name in clip.__dataclass_fields__}


def test_what_cannot_be_compared_says_why(workdir, other_run):
    results = evaluate(ToySuite(), [Level("2"), NeedsWorld(), Absent()], workdir, other=find_other(other_run))
    entries = results["against"]["metrics"]
    assert "version 1 in the other run, 2 in this one" in entries["level_error"]["missing"]
    assert "not measured in the other run" in entries["world_score"]["missing"]
    assert "not installed" in entries["absent_score"]["missing"]
    assert entries["level_error"]["difference"] is None


def test_against_something_else_is_refused(workdir, other_run, tmp_path):
    with pytest.raises(UserError, match="neither a checkpoint folder nor"):
        find_other(tmp_path / "nothing")
    (tmp_path / "a.json").write_text('{"schema": 1}\n'[:5])
    with pytest.raises(UserError, match=r"a\.json: not the JSON of"):
        find_other(tmp_path / "a.json")
    (tmp_path / "b.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(UserError, match="results of schema 99"):
        find_other(tmp_path / "b.json")
    (tmp_path / "moved.json").write_text((other_run / "results.json").read_text())
    other_run.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="no longer exists"):
        find_other(tmp_path / "moved.json")
    assert find_other(tmp_path / "elsewhere").kind == "run"


def test_runs_of_other_suites_and_other_films_are_refused(workdir, other_run):
    class Puppets(ToySuite):
        name = "puppet"

    with pytest.raises(UserError, match="evaluates the suite pairs, but this run evaluates puppet"):
        evaluate(Puppets(), [Level()], workdir, other=find_other(other_run))

    class Renamed(ToySuite):
        def __init__(self):
            super().__init__()
            self._numbers = {f"x-{k}": k for k in range(1, 4)}

    with pytest.raises(UserError, match="none of its 6 clips occurs in this run"):
        evaluate(Renamed(), [Level()], workdir, other=find_other(other_run))
