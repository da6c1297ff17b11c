"""Each speaker of a script with the voice that was given, in what the model sees and in what is decoded."""

import json
import pathlib

import numpy as np
import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.dubbing.dub import DualDub
from tests.apps.commands import fails, voice_file
from tests.fake_engine import FakeEngine
from tests.films import make_film


class SpeakingEngine(FakeEngine):
    """Speech is a constant, by the reference's duration, so that a sample tells its voice."""

    def open_decoder(self, stream, voice=None, acoustics=None):
        decoder = super().open_decoder(stream, voice, acoustics)
        if stream == "speech":
            level = 0.4 if voice is None else len(voice) / 100_000
            decoder._sing = lambda tokens: np.repeat(level * (tokens[:, 0] >= 0), 640).astype(np.float32)
        return decoder


@pytest.fixture
def engine(tmp_path, monkeypatch) -> FakeEngine:
    """The command line with the stand-in, three voices of different length and a film of ten seconds."""
    engine = SpeakingEngine()
    monkeypatch.setattr("dualdub_jax.load", lambda *_, **__: DualDub(engine, pathlib.Path("fake")))
    monkeypatch.chdir(tmp_path)
    for name, length in (("mary", 10_000), ("john", 20_000), ("other", 30_000)):
        voice_file(f"{name}.wav", 0.2 * np.sin(np.arange(length) / 9))
    make_film("film.mp4", num_frames=250)
    return engine


def dub(*options: str) -> dict:
    assert main(["dub", "film.mp4", *options, "-o", "o.mp4", "--stems", "s", "--receipt", "r.json"]) == 0
    return json.loads(pathlib.Path("r.json").read_text())


def levels(*times_s: float) -> list[float]:
    import soundfile

    speech = soundfile.read("s/speech.wav")[0]
    return [round(float(speech[round(16_000 * time_s)]), 2) for time_s in times_s]


VTT = """WEBVTT

00:00.500 --> 00:02.000
<v Mary Ann>Where is it?

00:02.000 --> 00:04.000
<v JOHN>Over there. <v mary  ann>Where then?

00:06.000 --> 00:08.000
Nobody said this.
"""


def test_cues_are_spoken_by_their_speakers(engine, capsys):
    pathlib.Path("film.vtt").write_text(VTT)
    voices = ["--voices", "mary ann=mary.wav", "John=john.wav", "--voice", "other.wav"]
    receipt = dub("--script", "film.vtt", *voices)
    assert capsys.readouterr().err == ""
    spoken = [(call["script"], len(call["voice"])) for call in engine.calls if call["script"]]
    assert spoken == [
        ("where is it", 10_000),
        ("over there", 20_000),
        ("where then", 10_000),
        ("nobody said this", 30_000),
    ]
    assert levels(0.2, 1.0, 2.5, 3.6, 5.0, 7.0) == [0.0, 0.1, 0.2, 0.1, 0.0, 0.3]
    assert [(cue["cues"], cue["speaker"]) for cue in receipt["speech"]] == [
        ([1], "mary ann"), ([2], "John"), ([2], "mary ann"), ([3], None)
    ]  # fmt: skip
    assert sorted(receipt["inputs"]["voices"]) == ["John", "mary ann"]


def test_the_speech_before_a_change_of_speaker_is_no_context(engine):
    pathlib.Path("film.vtt").write_text(VTT)
    dub("--script", "film.vtt", "--voices", "Mary Ann=mary.wav", "JOHN=john.wav")
    first, second = engine.calls[:2]
    assert (first["context"], len(second["context"]["speech"])) == ({}, 25)
    assert (second["context"]["speech"] == -1).all() and (second["context"]["background"] != -1).any()


def test_one_speaker_is_that_voice_alone(engine):
    pathlib.Path("s.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\n[JOHN] One two.\n")
    dub("--script", "s.srt", "--voices", "JOHN=john.wav")
    tracks = [pathlib.Path(f"s/{name}.wav").read_bytes() for name in ("speech", "background", "mix")]
    dub("--script", "s.srt", "--voice", "john.wav")
    assert tracks == [pathlib.Path(f"s/{name}.wav").read_bytes() for name in ("speech", "background", "mix")]


def test_a_dialogue_without_times(engine):
    text = "MARY: Where is it?\nAnd when?\nJOHN: Over there.\nMARY: Well."
    pathlib.Path("cast.json").write_text('{"mary": "mary.wav", "john": "john.wav"}')
    dub("--script", text, "--voices", "cast.json")
    spoken = [(call["script"], len(call["voice"])) for call in engine.calls if call["script"]]
    assert spoken == [("where is it and when", 10_000), ("over there", 20_000), ("well", 10_000)]
    windows = json.loads(pathlib.Path("r.json").read_text())["windows"]
    assert [window["speaker"] for window in windows][:3] == ["mary", "john", "mary"]
    assert sum(window["num_new"] for window in windows) == 250
    assert windows[0]["num_new"] < 60 and windows[1]["num_new"] < 40


@pytest.mark.parametrize(
    ("voices", "message"),
    [
        (
            ["MARY=mary.wav"],
            "film.vtt: no voice for Mary Ann (cues 1, 2), JOHN (cue 2); add Mary Ann=",
        ),
        (["MARY ANN=mary.wav", "JOHN=gone.wav"], "gone.wav: no such file"),
        (["MARY ANN=mary.wav", "JOHN=short.wav"], "short.wav: the voice is 0.06 s long but at least 0.5 s"),
        (["MARY ANN=mary.wav", "JOHN=silent.wav"], "silent.wav: the voice is silent"),
        (["MARY ANN=mary.wav", "mary ann=john.wav"], "MARY ANN and mary ann are one name"),
        (["MARY ANN=mary.wav", "MARY ANN=john.wav"], "MARY ANN has two voices, mary.wav and john.wav"),
        (
            ["MARY ANN=mary.wav", "john.wav"],
            "expected NAME=FILE or one JSON file, got 'john.wav' among",
        ),
        (["MARY ANN="], "the voice of MARY ANN is empty"),
        (["=mary.wav"], "a voice lacks its name"),
        (["mary.wav"], "mary.wav: is no JSON file"),
        (["cast.json"], "cast.json: is a JSON array, not an object"),
    ],
)
def test_a_cast_that_does_not_fit_is_refused_before_the_work(engine, capsys, voices, message):
    pathlib.Path("film.vtt").write_text(VTT)
    pathlib.Path("cast.json").write_text("[]")
    voice_file("short.wav", 0.2 * np.sin(np.arange(1_000) / 9))
    voice_file("silent.wav", np.zeros(20_000))
    assert message in fails(capsys, "dub", "film.mp4", "--script", "film.vtt", "--voices", *voices)
    assert not engine.calls


def test_no_result_replaces_a_voice_or_the_list_of_voices(engine, capsys):
    pathlib.Path("cast.json").write_text('{"MARY": "mary.wav"}')
    argv = ("dub", "film.mp4", "--script", "MARY: hello", "--voices", "cast.json", "--receipt")
    for name in ("cast.json", "mary.wav"):
        assert name in fails(capsys, *argv, name)


def test_a_voice_that_nobody_uses_is_a_warning(engine, capsys):
    dub("--script", "MARY: hello there", "--voices", "MARY=mary.wav", "BOB=john.wav")
    assert capsys.readouterr().err == (
        "warning: --voices: nobody in the script speaks with the voice of BOB\n"
    )


FAST = "1\n00:00:01,000 --> 00:00:02,000\neighteen letters x\n\n2\n00:00:04,000 --> 00:00:05,000\nslow\n"


def test_fast_cues_are_told_squeezed_or_refused(engine, capsys):
    pathlib.Path("s.srt").write_text(FAST)
    receipt = dub("--script", "s.srt")
    told = (
        "s.srt: spoken faster than the comfortable 14 letters a second: cue 1 (1.00 s to 2.00 s) at 18, 1.29"
    )
    assert f"warning: {told} times as fast; shorten" in capsys.readouterr().err
    assert [(cue["letters_per_s"], round(cue["rate"], 2)) for cue in receipt["speech"]] == [
        (18, 1.29),
        (4, 0.29),
    ]
    assert receipt["warnings"][0].startswith(told)
    error = fails(capsys, "dub", "film.mp4", "--script", "s.srt", "--strict")
    assert "cue 1 (1.00 s to 2.00 s) has 18 letters, 18 a second, but at most 14 can be spoken" in error
    pathlib.Path("s.srt").write_text(
        FAST.replace("eighteen letters x", "eighteen letters and more than that")
    )
    error = fails(capsys, "dub", "film.mp4", "--script", "s.srt")
    assert error.endswith("shorten the text or give it 1.75 s, or squeeze it by --max-rate 2.50\n")
    receipt = dub("--script", "s.srt", "--max-rate", "2.5")
    assert receipt["speech"][0]["rate"] == 2.5
    assert "at 35, 2.50 times as fast" in capsys.readouterr().err
    assert "--max-rate: expected a number of at least 1, got '0.5'" in fails(
        capsys, "dub", "film.mp4", "--script", "s.srt", "--max-rate", "0.5"
    )


def test_a_script_without_times_is_as_fast_as_it_must_be(engine, capsys):
    text = " ".join(["tick"] * 38)  # 189 letters in 10 s
    receipt = dub("--script", text)
    assert receipt["speech"][0]["rate"] > 1 and "spoken faster than the comf" in capsys.readouterr().err
    error = fails(capsys, "dub", "film.mp4", "--script", text, "--strict")
    assert "has 189 characters as it is spoken but a video of 10.00 s holds at most 1" in error
    more = f"{text} tick tick tick"
    assert "at up to 20 a second" in fails(capsys, "dub", "film.mp4", "--script", more)
    dub("--script", more, "--max-rate", "3")
