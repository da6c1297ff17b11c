"""`dualdub dub` and `dualdub demo` as a user meets them: what is written, with which status."""

import json
import os
import pathlib
import re
import wave
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from dualdub_jax.apps.cli import main
from tests.apps.commands import fails, files_in, voice_file
from tests.films import damage_last_packets, make_film, video_packets
from tests.media.test_film import real_film


def test_dub_writes_all_that_is_asked_for(engine, capsys):
    film = make_film("film.mp4", num_frames=60, has_audio=True)
    voice_file("voice.wav", 0.2 * np.sin(np.arange(16_000) / 9))
    what = ["--script", "words", "--voice", "voice.wav", "--seed", "4"]
    how = ["--speech-temperature", "0.7", "--background-top-k", "5"]
    where = ["-o", "out.mkv", "--stems", "stems", "--receipt", "r.json", "--report", "r.html"]
    status = main(["dub", "film.mp4", *what, *how, *where])
    captured = capsys.readouterr()
    assert status == 0
    assert captured.err == "warning: out.mkv: the soundtrack replaces the sound of film.mp4 (1 stream)\n"
    assert "wrote out.mkv" in captured.out and re.search(r"generate +\d+\.\d\d s", captured.out)
    assert sorted(p for p in files_in(pathlib.Path.cwd()) if "film" not in p and "voice" not in p) == [
        "out.mkv", "r.html", "r.json", "stems", "stems/background.wav", "stems/mix.wav", "stems/speech.wav"
    ]  # fmt: skip
    assert video_packets("out.mkv") == video_packets(film)
    receipt = json.loads(pathlib.Path("r.json").read_text())
    assert receipt["seed"] == 4 and receipt["script"] == "words"
    assert receipt["sampling"]["speech_temperature"] == 0.7 and receipt["sampling"]["background_top_k"] == 5
    assert receipt["sampling"]["background_temperature"] == engine.config.sampling.background_temperature


def test_project_is_kept_where_it_is_asked_for(engine, capsys):
    make_film("film.mp4", num_frames=60)
    assert main(["dub", "film.mp4", "--script", "words", "--project", "p", "--stems", "s"]) == 0
    for name in ("speech", "background", "mix"):
        assert (
            pathlib.Path(f"p/tracks/take_001/{name}.wav").read_bytes()
            == pathlib.Path(f"s/{name}.wav").read_bytes()
        )
    assert json.loads(pathlib.Path("p/project.json").read_text())["script"] == "words"
    capsys.readouterr()
    assert "p: is in use; give a new or an empty folder" in fails(capsys, "dub", "film.mp4", "--project", "p")
    assert len(engine.calls) == 1


def test_default_output_is_beside_the_film(engine, tmp_path):
    (tmp_path / "films").mkdir()
    make_film(tmp_path / "films" / "my.film.mkv")
    assert main(["dub", "films/my.film.mkv"]) == 0
    assert sorted(os.listdir("films")) == ["my.film.mkv", "my.film.soundtrack.mp4"]


def test_real_film(engine, tmp_path, capsys):
    assert main(["dub", str(real_film()), "--script", "hello rabbit", "-o", "out.mp4", "--stems", "."]) == 0
    for name in ("speech.wav", "background.wav", "mix.wav"):
        with wave.open(name) as file:
            assert file.getnframes() == 84_480
    assert video_packets("out.mp4") == video_packets(real_film())


@pytest.mark.parametrize(
    ("flag", "silent", "heard"),
    [("--no-speech", "speech", "background"), ("--no-background", "background", "speech")],
)
def test_switches(engine, flag, silent, heard):
    make_film("film.mp4")
    assert main(["dub", "film.mp4", "--script", "hello", flag, "--stems", "s"]) == 0
    tracks = {path.stem: soundfile.read(path, dtype="int16")[0] for path in pathlib.Path("s").iterdir()}
    assert not tracks[silent].any() and tracks[heard].any()
    np.testing.assert_array_equal(tracks["mix"], tracks[heard])


@pytest.mark.parametrize(
    "options",
    [
        {"size": (101, 57)},
        {"num_frames": 13},
        {"rate": Fraction(24000, 1001)},
        {
            "times": [Fraction(i * i, 300) for i in range(20)],
            "num_frames": 20,
            "time_base": Fraction(1, 1000),
        },
    ],
)
def test_accepted_without_complaint(engine, capsys, options):
    make_film("film.mp4", **options)
    assert main(["dub", "film.mp4", "--script", ""]) == 0
    assert capsys.readouterr().err == ""


def test_damaged_film_is_dubbed_with_a_warning(engine, capsys, tmp_path):
    whole = make_film(tmp_path / "whole.mp4", noise=True, size=(160, 120))
    damage_last_packets(whole, tmp_path / "film.mp4", 5)
    assert main(["dub", "film.mp4", "--stems", "s"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("warning: film.mp4: 5 of 50 frames are missing or damaged")
    assert len(soundfile.read("s/mix.wav")[0]) == 32_000


def test_older_results_are_replaced(engine):
    make_film("film.mp4")
    pathlib.Path("out.mp4").write_text("old")
    assert main(["dub", "film.mp4", "-o", "out.mp4"]) == 0
    assert video_packets("out.mp4") == video_packets("film.mp4")


def test_demo(engine, capsys, monkeypatch):
    monkeypatch.setattr(
        "dualdub_jax.evaluation.contracts.metric.Requirement.missing",
        lambda self: "not installed: pip" if self.module == "pocketsphinx" else None,
    )
    assert main(["demo"]) == 0
    assert sorted(os.listdir("out/demo")) == [
        "background.wav", "mix.wav", "report.html", "soundtrack.mp4", "speech.wav"
    ]  # fmt: skip
    assert engine.calls[0]["script"] == "set white with f four again"
    out = capsys.readouterr().out
    assert "wrote out/demo/report.html" in out and "load model" in out
    # What the fake engine's tones are like, and the true audio; a metric that cannot run says why.
    assert "Impact onsets within 60 ms, F1" in out and "(true: 1)" in out
    assert "Duration error, samples              0 (true: 0)" in out
    assert "Word error rate                      not installed: pip" in out
