"""`dualdub dub --project` as a user meets it: resumed, with several takes, delivered once more, retaken."""

import os
import pathlib
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from dualdub_jax.apps.cli import main
from tests.apps.commands import fails, files_in
from tests.films import make_film, video_packets

ROOT = pathlib.Path(__file__).parents[2]
SRT = "1\n00:00:00,500 --> 00:00:02,500\nhello you\n\n2\n00:00:06,000 --> 00:00:08,000\nand me\n"
DUB = ("dub", "film.mp4", "--script", "s.srt", "--seed", "4", "--project", "p")


@pytest.fixture
def film(engine) -> pathlib.Path:
    pathlib.Path("s.srt").write_text(SRT)
    return make_film("film.mp4", num_frames=300)


def stems(folder: str) -> dict[str, np.ndarray]:
    return {path.stem: soundfile.read(path, dtype="int16")[0] for path in pathlib.Path(folder).iterdir()}


def test_interrupted_and_resumed(film, engine, capsys, monkeypatch):
    assert main([*DUB[:-1], "whole", "--stems", "expected"]) == 0
    original, calls = engine.generate, []

    def interrupted(**arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(**arguments)

    monkeypatch.setattr(engine, "generate", interrupted)
    assert main([*DUB]) == 130
    assert not pathlib.Path("film.soundtrack.mp4.part").exists()
    monkeypatch.setattr(engine, "generate", original)
    capsys.readouterr()
    assert (
        "p: is in use; give a new or an empty folder for the project; to continue this one, add --resume"
        in (fails(capsys, *DUB))
    )
    assert "--seed was 4 and is 5; give the same ones" in fails(capsys, *DUB, "--seed", "5", "--resume")
    assert "p: is not finished; continue it with --resume" in fails(capsys, "dub", "--project", "p")
    before = len(engine.calls)
    # Without the film, all arguments are those of the project.
    assert main(["dub", "--project", "p", "--resume", "-o", "out.mp4", "--stems", "s"]) == 0
    assert len(engine.calls) == before + 2
    for name, samples in stems("expected").items():
        np.testing.assert_array_equal(stems("s")[name], samples)
    assert video_packets("out.mp4") == video_packets(film)
    assert main([*DUB, "--resume", "--stems", "s2"]) == 0  # nothing is left but the delivery
    assert len(engine.calls) == before + 2
    np.testing.assert_array_equal(stems("s2")["mix"], stems("expected")["mix"])


def test_takes_are_ranked_and_another_one_is_delivered(film, engine, capsys):
    assert main([*DUB, "--takes", "3", "--stems", "s"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.split()[:2] == ["take", "seed"])
    rows = [line.split() for line in lines[first + 1 : first + 4]]
    assert sorted((row[0], row[1]) for row in rows) == [("1", "4"), ("2", "5"), ("3", "6")]
    assert "av_correlation" in lines[first] and "casp" in lines[first] and "timing error, ms" in lines[first]
    best = rows[0][0]
    assert f"take {best} is delivered; --take K --project p delivers another" in out
    other = "2" if best == "1" else "1"
    count = len(engine.calls)
    assert main(["dub", "--project", "p", "--take", other, "-o", "other.mp4", "--stems", "o"]) == 0
    assert len(engine.calls) == count
    assert not np.array_equal(stems("o")["speech"], stems("s")["speech"])
    for name in ("speech", "background", "mix"):
        kept = soundfile.read(f"p/tracks/take_00{other}/{name}.wav", dtype="int16")[0]
        np.testing.assert_array_equal(stems("o")[name], kept)
    assert "p: has no take 9; there are 1, 2, 3" in fails(capsys, "dub", "--project", "p", "--take", "9")
    capsys.readouterr()
    assert main(["dub", "--project", "p", "--retake", "cue:1", "-o", "again.mp4"]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    (row,) = [row for row in table if row[:2] == ["4", "7"]]
    assert len(row) == 6 and "-" not in row  # scored like the others


def test_a_region_is_retaken(film, engine, capsys):
    assert main([*DUB, "--stems", "s"]) == 0
    for region, seed, first_s, end_s in (("cue:2", "9", 5.92, 8.08), ("0:01-2.5", None, 1.0, 2.5)):
        old = stems("s")
        arguments = ["--retake", region, *(["--seed", seed] if seed else [])]
        assert main(["dub", "--project", "p", *arguments, "-o", "out.mp4", "--stems", "s"]) == 0
        new = stems("s")
        first, end = int(first_s * 16_000), int(end_s * 16_000)
        for name in old:
            np.testing.assert_array_equal(new[name][:first], old[name][:first])
            np.testing.assert_array_equal(new[name][end:], old[name][end:])
        assert (new["speech"] != old["speech"]).any() and (new["mix"] != old["mix"]).any()
    for region, message in (
        ("cue:3", "cue 3: the script has cues 1 to 2; give one of them, or a region in seconds"),
        ("11-13", "region 11-13: is not inside the film, which is 12.000 s long"),
        ("3-3", "region 3-3: is empty"),
        ("three", "--retake: expected start and end in seconds, such as 12.0-15.5, or a cue, such as cue:7"),
    ):
        assert message in fails(capsys, "dub", "--project", "p", "--retake", region)


def test_a_film_that_was_moved_is_named_as_usual(film, engine, capsys):
    assert main([*DUB]) == 0
    capsys.readouterr()
    os.mkdir("films")
    os.rename("film.mp4", "films/renamed.mp4")
    assert "film.mp4: the video of the project p is not there; name the film that was dubbed" in fails(
        capsys, "dub", "--project", "p"
    )
    assert main(["dub", "films/renamed.mp4", "--project", "p", "--take", "1"]) == 0
    assert pathlib.Path("films/renamed.soundtrack.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "VIDEO: is missing; name the film, or a --project that is there"),
        (["film.mp4", "--take", "1"], "--take: only goes with a project that is there; add --project DIR"),
        (["film.mp4", "--retake", "1-2"], "--retake: only goes with a project that is there"),
        (["--project", "p"], "p: is not a project, for it has no project.json"),
        (["--project", "p", "--take", "1", "--retake", "1-2"], "--take and --retake: do not go together"),
        (["--project", "p", "--resume", "--take", "1"], "--resume and --take: do not go together"),
        (["--project", "p", "--seed", "3"], "--seed: belongs to the project already; leave it out"),
        (
            ["--project", "p", "--take", "1", "--script", "x"],
            "--script: the project p has its own; leave it out",
        ),
        (["--project", "p", "--retake", "1-2", "--rt60", "1"], "--rt60: the project p has its own"),
        (["--project", "p", "--takes", "2"], "--takes: the project p has its own"),
        (["film.mp4", "--resume"], "--resume: only goes with --project DIR"),
    ],
)
def test_arguments_that_do_not_go_together(film, engine, capsys, arguments, message):
    assert message in fails(capsys, "dub", *arguments)


_FAKE = """
import os, pathlib, signal, sys, time
import dualdub_jax
from dualdub_jax.apps import cli
from dualdub_jax.dubbing import delivery, project, scenes, take_tracks
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.media import mux
from tests.fake_engine import FakeEngine

def die(*_):
    os.kill(os.getpid(), int(os.environ["KILL_BY"]))
    time.sleep(60)

class Killed(FakeEngine):
    def generate(self, **arguments):
        if len(self.calls) == int(os.environ["KILL_AT"]):
            die()
        return super().generate(**arguments)

for module, name in [os.environ["PHASE"].split(":")] if "PHASE" in os.environ else []:
    assert hasattr(globals()[module], name)
    setattr(globals()[module], name, die)
dualdub_jax.load = lambda path=None, **_: DualDub(Killed(), pathlib.Path("fake"))
sys.exit(cli.main())
"""


def killed(number: signal.Signals, *argv: str, kill_at: int = 99, **environment: str):
    """Runs a command that ends itself by a signal, before the window that `kill_at` counts from 0."""
    environment |= {"PYTHONPATH": str(ROOT), "KILL_AT": str(kill_at), "KILL_BY": str(number.value)}
    done = subprocess.run(
        [sys.executable, "-c", _FAKE, *argv],
        env=os.environ | environment,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (-number, 128 + number)
    return done.stderr.splitlines()[-1] if done.stderr else ""


def test_a_process_that_is_killed_is_resumed(film, engine):
    for kill_at in (2, 1):  # of what is left
        killed(signal.SIGKILL, *DUB, "--resume", kill_at=kill_at)
    assert len(list(pathlib.Path("p/takes/take_001").iterdir())) == 3
    assert not pathlib.Path("film.soundtrack.mp4").exists()
    assert main([*DUB, "--resume", "--stems", "s"]) == 0 and len(engine.calls) == 1
    assert main([*DUB[:-1], "whole", "--stems", "expected"]) == 0
    for name, samples in stems("expected").items():
        np.testing.assert_array_equal(stems("s")[name], samples)
    assert not [path for path in pathlib.Path("p").rglob("*") if path.suffix in (".part", ".decoded")]


_NOTHING = "dualdub: interrupted; nothing was finished; to begin anew: dualdub "


@pytest.mark.parametrize(
    ("number", "phase", "kill_at", "num_calls"),
    [
        (signal.SIGTERM, "scenes:read_shots", 99, None),
        (signal.SIGINT, None, 0, None),
        (signal.SIGTERM, None, 3, 1),
        (signal.SIGINT, "take_tracks:_mix", 99, 0),
        (signal.SIGTERM, "delivery:write_stem_files", 99, 0),
        (signal.SIGINT, "mux:_verify_times", 99, 0),
    ],
)
def test_an_interrupted_dub_tells_how_it_is_continued(film, engine, number, phase, kill_at, num_calls):
    """In every phase; nothing half-written is left, and the told command gives the uninterrupted result."""
    argv = [*DUB, "--stems", "s s", "--lufs", "-20"]
    told = killed(number, *argv, kill_at=kill_at, **({"PHASE": phase} if phase else {}))
    assert sorted(os.listdir()) == ["film.mp4", *(["p"] if num_calls is not None else []), "s.srt"]
    assert not [path for path in pathlib.Path().rglob("*") if path.suffix in (".part", ".decoded")]
    if num_calls is None:
        assert told == _NOTHING + shlex.join(argv)
        return
    line = told.removeprefix("dualdub: interrupted; to continue: dualdub ")
    assert shlex.split(line) == ["dub", "--resume", *argv[1:]]
    assert main(shlex.split(line)) == 0 and len(engine.calls) == num_calls
    assert main([*argv[:-5], "whole", *argv[-4:], "-o", "whole.mp4", "--stems", "whole_stems"]) == 0
    for name, samples in stems("whole_stems").items():
        np.testing.assert_array_equal(stems("s s")[name], samples)
    assert pathlib.Path("film.soundtrack.mp4").read_bytes() == pathlib.Path("whole.mp4").read_bytes()


def test_an_interrupted_retake_leaves_the_project_as_it_was(film, engine):
    assert main([*DUB]) == 0
    before = files_in(pathlib.Path("p"))
    argv = ["dub", "--project", "p", "--retake", "cue:2", "-o", "new.mp4"]
    told = killed(signal.SIGINT, *argv, kill_at=0)
    assert told == f"dualdub: interrupted; the project p is as it was: dualdub {shlex.join(argv)}"
    assert files_in(pathlib.Path("p")) == before and not pathlib.Path("new.mp4").exists()
    assert main(argv) == 0
