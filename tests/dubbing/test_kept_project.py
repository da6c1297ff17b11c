"""Finished projects that were kept: opened again, elsewhere, damaged, and with other takes chosen."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import soundfile

from dualdub_jax.dubbing.delivery import Targets, deliver
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError
from tests.dubbing.test_resume import SRT, die, dub, sounds
from tests.fake_engine import FakeEngine
from tests.films import make_film

ATTRIBUTES = (
    *("windows", "utterances", "spoken", "used", "num_frames", "num_samples", "sample_rate_hz"),
    *("num_channels", "frame_rate", "decoder_kinds", "mixdown", "chosen", "takes", "script"),
)


@pytest.fixture
def home(tmp_path, monkeypatch) -> pathlib.Path:
    """A folder with a film, its inputs, and a project "p" of it that has two takes."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    pathlib.Path("s.srt").write_text(SRT)
    soundfile.write("voice.wav", 0.2 * np.sin(np.arange(16_000) / 10), 16_000)
    make_film("film.mp4", num_frames=300)
    dub(DubRequest("film.mp4", "s.srt", "voice.wav", seed=5, takes=2), pathlib.Path("p"), FakeEngine())
    return home


def test_all_is_as_it_was(home):
    made = dub(DubRequest("film.mp4", "s.srt", "voice.wav"), pathlib.Path("q"), FakeEngine())
    with Project.open("q") as project:
        for name in ATTRIBUTES:
            if name == "mixdown":
                assert project.mixdown.describe() == made.mixdown.describe()
            elif name == "script":
                assert (project.script.words, project.script.cues) == (made.script.words, made.script.cues)
            else:
                assert getattr(project, name) == getattr(made, name), name
        assert project.film == made.film and sounds(project) == sounds(made)
        assert project.take.settings() == made.take.settings()
        assert project.realtime_factor == pytest.approx(made.realtime_factor)
        np.testing.assert_array_equal(project.strip, made.strip)
        deliver(project, Targets.make("out.mp4", "stems", "r.json", "r.html"))
    receipt = json.loads(pathlib.Path("r.json").read_text())
    assert receipt["seed"] == 0 and [spoken["cues"] for spoken in receipt["speech"]] == [[1], [2]]
    kept = pathlib.Path("q/tracks/take_001/mix.wav")
    assert pathlib.Path("stems/mix.wav").read_bytes() == kept.read_bytes()


@pytest.mark.parametrize("how", ["with its film", "alone", "into the folder of its film"])
def test_it_may_be_moved(home, tmp_path, monkeypatch, how):
    before = sounds(Project.open("p"))
    if how == "with its film":
        shutil.move(home, tmp_path / "away")
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / "away" / "p"
    elif how == "alone":
        folder = tmp_path / "deep" / "er" / "p"
        folder.parent.mkdir(parents=True)
        shutil.move("p", folder)
    else:
        (tmp_path / "films").mkdir()
        folder = tmp_path / "films" / "project"
        shutil.move("p", folder)
        shutil.move("film.mp4", tmp_path / "films" / "film.mp4")
    with Project.open(folder) as project:
        assert sounds(project) == before
        project.retake(FakeEngine(), cue=2)  # script and voice are inside
        assert project.voices


def test_a_film_that_was_moved_is_named(home):
    shutil.move("film.mp4", "other.mp4")
    with pytest.raises(UserError, match=r"film.mp4: the video of the project p is not there; name the film"):
        Project.open("p")
    assert Project.open("p", "other.mp4").film.path == pathlib.Path("other.mp4")
    make_film("film.mp4", num_frames=301)
    for video in (None, "film.mp4"):
        with pytest.raises(UserError, match=r"film.mp4: is not the video of the project p any more"):
            Project.open("p", video)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("project.json", r"p/project.json: is damaged"),
        ("strip.png", r"p/strip.png: "),
        ("inputs/script.srt", r"p/inputs/script.srt: is not the script of the project p any more"),
        ("inputs/voice.wav", r"p/inputs/voice.wav: is not the voice of the project p any more"),
        ("takes/take_001.npz", r"p/takes/take_001.npz: is damaged"),
        ("tracks/take_001/speech.wav", r"p/tracks/take_001/speech.wav: is damaged \(its SHA-256 differs\)"),
        ("tracks/take_001/mix.wav", r"p/tracks/take_001/mix.wav: is damaged"),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_damage_is_named(home, name, message, damage):
    Project.open("p").choose(1)
    path = pathlib.Path("p") / name
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
        message = message.split(": ")[0] + ": "
        if name == "project.json":
            message = "p: is not a project, for it has no project.json"
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        # A picture is checked by its format alone: its signature is damaged.
        at = 0 if name == "strip.png" else len(data) // 2
        data[at : at + 8] = bytes(byte ^ 0xFF for byte in data[at : at + 8])
        path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        Project.open("p")


def test_what_is_no_project_or_not_finished(home):
    with pytest.raises(UserError, match=r"nothing: is not a project, for it has no project.json"):
        Project.open("nothing")
    die(DubRequest("film.mp4", "s.srt"), pathlib.Path("q"), 2)
    with pytest.raises(UserError, match=r"q: is not finished; continue it with --resume"):
        Project.open("q")


def test_takes_are_those_of_their_seeds(home):
    with Project.open("p") as project:
        for number, seed in ((1, 5), (2, 6)):
            project.choose(number)
            alone = dub(
                DubRequest("film.mp4", "s.srt", "voice.wav", seed=seed),
                pathlib.Path(f"q{seed}"),
                FakeEngine(),
            )
            assert project.take.seed == seed and sounds(project) == sounds(alone)
        with pytest.raises(UserError, match=r"p: has no take 3; there are 1, 2"):
            project.choose(3)
    assert Project.open("p").chosen == 2
    Project.open("p").choose(1)
    assert Project.open("p").chosen == 1
