"""`dualdub evaluate` as a user meets it."""

import io
import json
import pathlib
import re

import numpy as np
import pytest
import rich.console
import soundfile

from dualdub_jax.apps.cli import main
from dualdub_jax.evaluation.contracts import registry
from dualdub_jax.evaluation.metrics.realtime import RealTime
from dualdub_jax.evaluation.report.terminal import number, print_results
from tests.evaluation.example_results import example_results
from tests.evaluation.tiny_bundle import write_tiny_bundle
from tests.evaluation.toy import Absent, Level
from tests.films import make_film


@pytest.fixture(autouse=True)
def few_metrics(monkeypatch):
    """Metrics of their own tests are left out here."""
    monkeypatch.setattr(registry, "all_metrics", lambda casp_weights: [Level(), Absent(), RealTime()])


def fails(capsys, *argv: object) -> str:
    """Runs a command that must end with status 2 and one line; returns the line."""
    assert main(["evaluate", *map(str, argv)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("dualdub: ")
    return error


# ------------------------------------------------------------------------------------------- puppet


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluation") / "work"


def test_puppet_suite_from_films_to_table_json_and_page(tiny_bundle, workdir, tmp_path, capsys):
    argv = ["evaluate", "--suite", "puppet", "--limit", "3", "--checkpoint", str(tiny_bundle),
            "--workdir", str(workdir), "--json", str(tmp_path / "a.json")]  # fmt: skip
    assert main([*argv, "--html", str(tmp_path / "a.html")]) == 0
    out = capsys.readouterr().out
    results = json.loads((tmp_path / "a.json").read_text())
    assert results["num_scored"] == 3 and results["failures"] == []
    error = results["metrics"]["level_error"]
    assert error["n"] == 3 and error["ceiling"] == 0.0
    assert error["codec_ceiling"] > 0 and error["floor"] is not None
    assert results["metrics"]["rtf"]["value"] > 0
    assert results["protocol"]["checkpoint"]["name"] == "tiny"
    for clip in results["clips"]:
        for paths in (clip["files"]["speech"], clip["files"]["background"]):
            assert set(paths) == {"ours", "true", "codec"}
            for path in paths.values():
                samples, rate_hz = soundfile.read(workdir / path)
                assert (len(samples), rate_hz) == (round(clip["duration_s"] * 16_000), 16_000)
        assert (workdir / clip["files"]["video"]).is_file() and (workdir / clip["files"]["voice"]).is_file()
    assert re.search(r"^level_error +↓ \d\.\d+ +0\.000 +\d\.\d+ +\d\.\d+ +3$", out, re.MULTILINE)
    assert "absent_score ↑ not installed: pip install" in re.sub(" +", " ", out)
    assert "suite puppet: 3 clips" in out and f"wrote {tmp_path / 'a.json'}" in out
    assert "level_error" in (tmp_path / "a.html").read_text(encoding="utf-8")

    assert main(argv) == 0  # all of it is known: no model is loaded, the figures are the same
    again = capsys.readouterr().out
    assert "load model" in out and "load model" not in again
    assert json.loads((tmp_path / "a.json").read_text()) == results


def test_two_checkpoints_side_by_side(tiny_bundle, workdir, tmp_path, capsys):
    other = write_tiny_bundle(tmp_path / "other", seed=5)
    argv = ["evaluate", "--suite", "puppet", "--limit", "3", "--checkpoint", str(tiny_bundle),
            "--workdir", str(workdir), "--metrics", "level_error,rtf"]  # fmt: skip
    assert main([*argv, "--against", str(other), "--json", str(tmp_path / "a.json")]) == 0
    against = json.loads((tmp_path / "a.json").read_text())["against"]
    entry = against["metrics"]["level_error"]
    assert against["kind"] == "checkpoint" and against["num_clips"] == 3
    assert entry["difference"] == pytest.approx(entry["ours"] - entry["other"]) and entry["difference"] != 0
    assert f"against {other}: paired differences over 3 shared clips" in capsys.readouterr().out
    swapped = ["evaluate", "--suite", "puppet", "--limit", "3", "--checkpoint", str(other), "--metrics",
               "level_error", "--workdir", str(workdir), "--against", str(tmp_path / "a.json")]  # fmt: skip
    assert main([*swapped, "--json", str(tmp_path / "b.json")]) == 0
    back = json.loads((tmp_path / "b.json").read_text())["against"]
    assert back["kind"] == "run"
    assert back["metrics"]["level_error"]["difference"] == pytest.approx(-entry["difference"])


def test_an_interrupted_run_ends_in_one_line_and_goes_on_next_time(tiny_bundle, workdir, capsys, monkeypatch):
    argv = ["evaluate", "--suite", "puppet", "--limit", "3", "--checkpoint", str(tiny_bundle),
            "--workdir", str(workdir)]  # fmt: skip
    scored = []

    class Interrupted(Level):
        def score(self, clips):
            scored.extend(clip.id for clip in clips)
            if len(scored) > 3:
                raise KeyboardInterrupt
            return super().score(clips)

    with monkeypatch.context() as patch:
        patch.setattr(registry, "all_metrics", lambda casp_weights: [Interrupted("new")])
        assert main(argv) == 130
    assert capsys.readouterr().err == "dualdub: interrupted\n"
    metric = Level("new")
    monkeypatch.setattr(registry, "all_metrics", lambda casp_weights: [metric])
    assert main(argv) == 0
    assert len(metric.scored) == 12 - 3


# --------------------------------------------------------------------------------------- given soundtracks


@pytest.fixture
def manifest(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    make_film(tmp_path / "film.mp4", num_frames=25)
    lines = []
    for k in range(1, 5):
        for name, level in (("speech", k / 10 + 0.05), ("true", k / 10)):
            soundfile.write(tmp_path / f"{name}{k}.wav", np.full(16_000, level), 16_000, subtype="FLOAT")
        lines.append(
            {"id": f"c{k}", "video": "film.mp4", "speech": f"speech{k}.wav", "true_speech": f"true{k}.wav"}
        )
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_pairs_need_no_model(manifest, capsys):
    assert main(["evaluate", "--pairs", str(manifest), "--json", "out.json"]) == 0
    results = json.loads(pathlib.Path("out.json").read_text())
    error = results["metrics"]["level_error"]
    assert error["value"] == pytest.approx(0.05, abs=1e-3) and error["ceiling"] == 0.0
    assert error["codec_ceiling"] is None and error["floor"] > 0.05
    assert results["metrics"]["rtf"]["missing"] == "no clip has the inputs of this figure"
    assert results["protocol"]["checkpoint"] is None
    assert pathlib.Path("out", "evaluate", "pairs-manifest", "scores.sqlite").is_file()


def test_missing_media_are_listed_and_counted(manifest, capsys):
    pathlib.Path("speech2.wav").unlink()
    assert main(["evaluate", "--pairs", str(manifest), "--json", "out.json"]) == 0
    out = capsys.readouterr().out
    assert "missing media: 1 files of 1 clips (1 speech)" in out and "missing speech of c2" in out
    results = json.loads(pathlib.Path("out.json").read_text())
    assert results["missing_media"][0]["id"] == "c2" and results["num_scored"] == 3


def test_a_failing_clip_is_named_and_the_status_says_so(manifest, capsys):
    pathlib.Path("speech2.wav").write_bytes(b"this is no sound")
    assert main(["evaluate", "--pairs", str(manifest), "--json", "out.json", "--html", "out.html"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^failed: c2: film: .*speech2\.wav: not a media file", out, re.MULTILINE)
    assert "Traceback" in pathlib.Path("out", "evaluate", "pairs-manifest", "errors.log").read_text()
    assert json.loads(pathlib.Path("out.json").read_text())["metrics"]["level_error"]["n"] == 3


# ------------------------------------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "give either --suite puppet, dualbench or dataset, or --pairs"),
        (["--suite", "puppet", "--pairs", "x.jsonl"], "give either"),
        (["--suite", "dualbench"], "give --list video-to-soundtrack.jsonl and --media DIR"),
        (["--suite", "puppet", "--media", "x"], "--media: does not apply to --suite puppet; leave it out"),
        (["--pairs", "x.jsonl", "--checkpoint", "x"], "--checkpoint: does not apply to --pairs"),
        (["--pairs", "x.jsonl"], "x.jsonl: cannot be read"),
        (["--suite", "puppet", "--metrics", "level_eror"], "did you mean level_error"),
        (["--suite", "puppet", "--skip", "levle"], "--skip levle: no metric or figure has this name"),
        (["--suite", "puppet", "--rows", "ours,truth"], "--rows ours,truth: choose from ours, true, codec"),
        (["--pairs", "x.jsonl", "--batch-size", "2"], "--batch-size: does not apply to --pairs"),
        (["--suite", "puppet", "--limit", "0"], "expected a whole number from 1"),
        (["--suite", "puppet", "--against", "x"], "--against x: neither a checkpoint folder nor"),
        (["--suite", "puppet", "--checkpoint", "x"], "x: no such checkpoint folder"),
        (["--suite", "puppet", "--json", "no/such/folder.json"], "there is no folder no/such"),
        (["--suite", "puppet", "--split", "train"], "--split train: no such split"),
    ],
)  # fmt: skip
def test_bad_usage_is_one_line_before_any_work(capsys, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, *argv)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_cannot_be_compared_with_given_soundtracks(manifest, tiny_bundle, capsys):
    assert "give the JSON of another run" in fails(capsys, "--pairs", manifest, "--against", tiny_bundle)


def test_listing_metrics_says_what_is_ready(capsys):
    assert main(["evaluate", "--list-metrics"]) == 0
    out = capsys.readouterr().out
    assert "level (version 1): ready" in out and "absent (version 1): not installed: pip install" in out
    assert re.search(r"^  level_error +↓ Mean difference of levels\.$", out, re.MULTILINE)


# ---------------------------------------------------------------------------------------------- terminal


def test_the_table_shows_all_rows_on_lines_that_are_not_broken():
    file = io.StringIO()
    console = rich.console.Console(file=file, width=60)  # a log: lines stay whole
    print_results(example_results(), pathlib.Path("errors.log"), console)
    lines = file.getvalue().splitlines()
    wer = next(line for line in lines if line.startswith("wer "))
    assert wer.split() == ["wer", "↓", "0.120", "[0.100,", "0.140]", "0.060", "0.080", "0.970", "3"]
    assert any(line.startswith("distillmos ") and "not installed: pip install" in line for line in lines)
    assert next(line for line in lines if line.startswith("fad ")).split()[5:8] == ["-", "1.200", "-"]
    assert "failed: test_unseen-000001 ours: generate: ValueError: long" in lines
    better = next(line for line in lines if line.startswith("wer ") and line.endswith("better"))
    assert "-0.080 [-0.120, -0.040]" in better


def test_numbers_have_as_many_decimals_as_they_bear():
    assert [number(x) for x in (None, 0.12345, -3.0, 45.678, 678.91, 12345.6)] == [
        "-", "0.123", "-3.000", "45.68", "678.9", "12346",
    ]  # fmt: skip
    assert number(0.1234, "%") == "12.3"


def test_a_long_unit_leaves_the_verdict_apart():
    results = example_results()
    results["against"]["metrics"]["wer"]["unit"] = "frames a second"
    console = rich.console.Console(file=io.StringIO(), width=200)
    print_results(results, pathlib.Path("errors.log"), console)
    lines = console.file.getvalue().splitlines()
    title = next(line for line in lines if line.endswith("verdict"))
    row = next(line for line in lines if "frames a second" in line)
    assert row.index("better") == title.index("verdict") and row.endswith("frames a second  better")
