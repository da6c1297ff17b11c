"""`dualdub dub --manifest`: films, records, and what is done again after an interruption."""

import fcntl
import json
import pathlib

import numpy as np
import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.media.track import Track
from tests.apps.commands import fails
from tests.films import make_film, video_packets

DUB = ("dub", "--manifest", "films.jsonl", "--out", "out")


@pytest.fixture
def films(engine) -> list[dict]:
    """Three films of different lengths in `films/`, and their manifest."""
    pathlib.Path("films").mkdir()
    lines = []
    for number, num_frames in enumerate((150, 30, 240), start=1):
        make_film(f"films/{number}.mp4", num_frames=num_frames)
        lines.append({"video": f"films/{number}.mp4", "script": "hello", "seed": number})
    write(lines)
    return lines


def write(lines: list[dict]) -> None:
    pathlib.Path("films.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def records(name: str) -> list[dict]:
    path = pathlib.Path("out", name)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_films_are_those_of_single_commands(films, engine, capsys):
    assert main([*DUB, "--stems", "stems/{name}", "--receipt", "{name}.json", "--batch-size", "2"]) == 0
    printed = capsys.readouterr()
    assert "3 films: 3 dubbed, 0 done before, 0 failed" in printed.out and "left" in printed.out
    assert [record["line"] for record in records("done.jsonl")] == [2, 1, 3] and not records("failures.jsonl")
    for number in (1, 2, 3):
        options = ["--script", "hello", "--seed", str(number), "--stems", "alone", "-o", "alone.mp4"]
        assert main(["dub", f"films/{number}.mp4", *options]) == 0
        for name in ("speech", "background", "mix"):
            one = Track(pathlib.Path("alone", f"{name}.wav"))[:]
            np.testing.assert_array_equal(
                Track(pathlib.Path("out/stems", str(number), f"{name}.wav"))[:], one
            )
        assert video_packets(f"out/{number}.mp4") == video_packets(f"films/{number}.mp4")
        assert json.loads(pathlib.Path(f"out/{number}.json").read_text())["seed"] == number
    assert {path.name for path in pathlib.Path("out").iterdir()} == {
        *("1.mp4", "2.mp4", "3.mp4", "1.json", "2.json", "3.json"), *("stems", "done.jsonl", ".lock"),
    }  # fmt: skip


def test_only_what_is_not_done_is_done(films, engine, capsys):
    assert main(DUB) == 0
    num_calls = len(engine.calls)
    assert main(DUB) == 0 and len(engine.calls) == num_calls
    assert "0 dubbed, 3 done before" in capsys.readouterr().out
    # Another setting of one line, a changed input, a lost output, a torn record: each is one film again.
    films[1]["seed"] = 9
    write(films)
    assert main(DUB) == 0 and [record["line"] for record in records("done.jsonl")][3:] == [2]
    make_film("films/3.mp4", num_frames=60)
    assert main(DUB) == 0 and [record["line"] for record in records("done.jsonl")][4:] == [3]
    pathlib.Path("out/1.mp4").unlink()
    assert main(DUB) == 0 and [record["line"] for record in records("done.jsonl")][5:] == [1]
    # What an earlier setting has left is not taken for the result of it.
    films[1]["seed"] = 2
    write(films)
    assert main(DUB) == 0 and [record["line"] for record in records("done.jsonl")][6:] == [2]
    # Another default for all lines is another result of all.
    assert main([*DUB, "--noise", "-40"]) == 0 and len(records("done.jsonl")) == 7 + 3


def test_a_record_that_was_cut_off_is_done_again(films, engine):
    assert main(DUB) == 0
    record = pathlib.Path("out/done.jsonl")
    record.write_text(record.read_text()[:-20])
    assert main(DUB) == 0
    *_, torn, again = record.read_text().splitlines()
    assert not torn.endswith("}") and json.loads(again)["line"] == 3
    num_calls = len(engine.calls)
    pathlib.Path("out").rename("moved")  # with all that it holds
    assert main([*DUB[:-1], "moved"]) == 0 and len(engine.calls) == num_calls


def test_failures_are_recorded_and_tried_again(films, engine, capsys):
    pathlib.Path("films/2.mp4").rename("2.mp4")
    write([*films, {"video": "films/1.mp4", "out": "4.mp4", "voice": "gone.wav"}])
    assert main([*DUB, "--batch-size", "3"]) == 1
    printed = capsys.readouterr()
    assert "4 films: 2 dubbed, 0 done before, 2 failed" in printed.out
    assert "line 2: " in printed.err and "Traceback" not in printed.err
    two, four = sorted(records("failures.jsonl"), key=lambda failure: failure["line"])
    assert two["line"] == 2 and two["video"].endswith("films/2.mp4") and "films/2.mp4" in two["error"]
    assert four["line"] == 4 and "gone.wav" in four["error"]
    assert {path.name for path in pathlib.Path("out").iterdir()} == {
        *("1.mp4", "3.mp4", "done.jsonl", "failures.jsonl", ".lock")
    }
    pathlib.Path("2.mp4").rename("films/2.mp4")
    write(films)
    assert main(DUB) == 0
    assert "1 dubbed, 2 done before, 0 failed" in capsys.readouterr().out
    assert not pathlib.Path("out/failures.jsonl").exists()


def test_a_fault_of_ours_is_one_films_failure_with_its_traceback(films, engine, capsys, monkeypatch):
    original = engine.open_decoder

    def faulty(stream, voice, acoustics):
        return 1 / 0 if acoustics.noise_dbfs == -52.0 else original(stream, voice, acoustics)

    monkeypatch.setattr(engine, "open_decoder", faulty)
    assert main(DUB) == 1
    (failure,) = records("failures.jsonl")
    assert failure["line"] == 2 and failure["error"].startswith("a fault of DualDub: ZeroDivisionError")
    assert "Traceback" in capsys.readouterr().err and len(records("done.jsonl")) == 2


def test_an_interrupted_run_goes_on(films, engine, monkeypatch):
    def interrupted(**_):
        raise KeyboardInterrupt

    original = engine.generate
    monkeypatch.setattr(engine, "generate", lambda **r: interrupted() if r["seed"] == 3 else original(**r))
    assert main(DUB) == 130
    assert [record["line"] for record in records("done.jsonl")] == [1, 2]
    # As a killed process would have left it.
    for leftover in (".work/half/tracks/mix.wav", ".3.mp4.0123abcd.part", "stems/3/.mix.wav.0123abcd.part"):
        pathlib.Path("out", leftover).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path("out", leftover).write_bytes(b"half")
    films[2]["stems"] = "stems/{name}"
    write(films)
    monkeypatch.setattr(engine, "generate", original)
    assert main(DUB) == 0
    assert {path.name for path in pathlib.Path("out").iterdir()} == {
        *("1.mp4", "2.mp4", "3.mp4", "stems", "done.jsonl", ".lock")
    }
    assert len(list(pathlib.Path("out/stems/3").iterdir())) == 3


def test_several_processes_share_a_folder_by_parts(films, engine, capsys):
    assert main([*DUB, "--part", "2/2"]) == 0
    assert [record["line"] for record in records("done.jsonl")] == [2]
    assert main([*DUB, "--part", "1/2"]) == 0
    assert sorted(record["line"] for record in records("done.jsonl")) == [1, 2, 3]
    assert main(DUB) == 0 and "3 done before" in capsys.readouterr().out


def test_two_runs_do_not_write_to_one_folder(films, engine, capsys):
    pathlib.Path("out").mkdir()
    with pathlib.Path("out/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is at work there" in fails(capsys, *DUB)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["dub"], "VIDEO: is missing"),
        (["dub", "films/1.mp4", "--manifest", "films.jsonl"], "--manifest: names the films; leave out VIDEO"),
        (["dub", "--manifest", "films.jsonl"], "--manifest: give --out DIR"),
        ([*DUB, "-o", "x.mp4"], "--output: is of one film"),
        (["dub", "films/1.mp4", "--batch-size", "2"], "--batch-size: only goes with --manifest"),
        (["dub", "films/1.mp4", "--out", "out"], "--out: only goes with --manifest"),
        ([*DUB, "--resume"], "--resume: is of one film"),
        ([*DUB, "--part", "3/2"], "--part 3/2: expected I/N"),
        ([*DUB, "--part", "half"], "--part half: expected I/N"),
        ([*DUB, "--receipt", "r.json"], "films.jsonl, line 2: writes out/r.json, as line 1 does"),
        (["dub", "--manifest", "gone.jsonl", "--out", "out"], "gone.jsonl: cannot be read"),
        (["dub", "--manifest", "films.jsonl", "--out", "films/1.mp4"], "films/1.mp4"),
    ],
)
def test_bad_usage_is_found_before_the_work(films, capsys, argv, message):
    if "line 2" in message:
        write(films[:2])
    assert message in fails(capsys, *argv)
