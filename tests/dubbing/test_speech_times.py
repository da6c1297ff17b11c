"""Speech in the times of its cues, digital silence elsewhere, and a word about what could not be spoken."""

import json
import pathlib

import numpy as np
import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.dubbing.speech_check import Listener, SpokenUtterance, find_speech
from dualdub_jax.dubbing.utterances import Utterance
from dualdub_jax.errors import UserError
from tests.fake_engine import FakeEngine
from tests.films import make_film

CHECKPOINT = pathlib.Path("checkpoint")


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> pathlib.Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", num_frames=250)


def subtitles(folder: pathlib.Path, *cues: tuple[str, str, str]) -> str:
    path = folder / "s.srt"
    lines = [f"{i}\n00:00:{a} --> 00:00:{b}\n{text}\n" for i, (a, b, text) in enumerate(cues, start=1)]
    path.write_text("\n".join(lines))
    return str(path)


def dub(film: pathlib.Path, engine: FakeEngine, script: str, **options):
    return DualDub(engine, CHECKPOINT).run(DubRequest(film, script, **options))


def test_cues_are_spoken_in_their_times_and_nothing_else_is(tmp_path, film):
    cues = (("00,300", "03,000", "set white with f"), ("06,000", "08,000", "lay blue at e"))
    made = dub(film, FakeEngine(), subtitles(tmp_path, *cues))
    is_near = np.zeros(160_000, bool)
    for start_s, end_s in ((0.3, 3.0), (6.0, 8.0)):
        is_near[round((start_s - 0.08) * 16_000) : round((end_s + 0.08) * 16_000)] = True
        assert (
            np.abs(made.speech[round((start_s + 0.1) * 16_000) : round((end_s - 0.1) * 16_000)]).max() > 0.2
        )
    assert not made.speech[~is_near].any()
    np.testing.assert_array_equal(made.mix[~is_near], made.background[~is_near])
    for spoken, (start_s, end_s) in zip(made.receipt()["speech"], ((0.3, 3.0), (6.0, 8.0)), strict=True):
        assert (spoken["due_start_s"], spoken["due_end_s"]) == (start_s, end_s)
        assert abs(spoken["start_s"] - start_s) <= 0.08 and abs(spoken["end_s"] - end_s) <= 0.08
        assert 0 <= spoken["error_s"] <= 0.08
    assert made.project.warnings == ()


def test_the_model_sees_the_words_of_one_cue_at_a_time(tmp_path, film):
    engine = FakeEngine()
    dub(film, engine, subtitles(tmp_path, ("00,300", "03,000", "one"), ("06,000", "08,000", "two")))
    assert [(c["script"], c["speech_span"]) for c in engine.calls] == [
        ("one", (8, 75)),
        ("", (25, 25)),
        ("two", (25, 75)),
        ("", (25, 25)),
    ]


def test_windows_without_text_are_silence(film):
    engine = FakeEngine()
    made = dub(film, engine, "one two three")
    assert engine.calls[0]["speech_span"] is None and engine.calls[1]["speech_span"] == (25, 25)
    assert made.speech[:60_000].any() and not made.speech[64_000:].any()


def test_a_film_that_nobody_speaks_in_is_spoken_to_nevertheless(film):
    engine = FakeEngine()
    engine.needs_steering = True
    made = dub(film, engine, "one two three")
    assert [c["speech_span"] for c in engine.calls[:2]] == [None, (0, 100)]
    assert made.speech.any() and made.project.warnings == ()


def silent_in(engine: FakeEngine, text: str) -> FakeEngine:
    """A model that never speaks a text."""
    generate = engine.generate

    def generate_without(**request):
        engine.can_speak = request["script"] != text
        return generate(**request)

    engine.generate = generate_without
    return engine


def test_a_cue_that_is_not_spoken_is_a_warning(tmp_path, film, monkeypatch, capsys):
    script = subtitles(tmp_path, ("00,300", "03,000", "one"), ("06,000", "08,000", "two"))
    engine = silent_in(FakeEngine(), "two")
    monkeypatch.setattr("dualdub_jax.load", lambda *_, **__: DualDub(engine, tmp_path))
    argv = ["dub", str(film), "--script", script, "-o", str(tmp_path / "o.mp4")]
    assert main([*argv, "--receipt", str(tmp_path / "r.json")]) == 0
    warning = f"{script}: cue 2 (6.00 s to 8.00 s) is not audible; choose another --seed"
    assert f"warning: {warning}" in capsys.readouterr().err
    receipt = json.loads((tmp_path / "r.json").read_text())
    assert receipt["warnings"][0].startswith(warning)
    assert [spoken["start_s"] is None for spoken in receipt["speech"]] == [False, True]
    assert receipt["speech"][1]["error_s"] is None


def test_a_script_of_which_nothing_is_audible_is_an_error(tmp_path, film, monkeypatch, capsys):
    engine = FakeEngine()
    engine.can_speak = False
    monkeypatch.setattr("dualdub_jax.load", lambda *_, **__: DualDub(engine, tmp_path))
    assert main(["dub", str(film), "--script", "hello", "-o", str(tmp_path / "o.mp4")]) == 2
    error = capsys.readouterr().err
    assert "--script: nothing of the script is audible: no speech is louder than -60 dBFS" in error
    assert not (tmp_path / "o.mp4").exists()
    with pytest.raises(UserError, match="nothing of the script is audible"):
        dub(film, engine, "hello")
    (warning,) = dub(film, engine, "hello", must_speak=False).project.warnings
    assert warning.startswith("--script: the script between 0.00 s and 4.00 s is not audible")


def test_a_cue_without_room_for_its_text_is_refused_before_the_model_is_loaded(tmp_path, film):
    script = subtitles(tmp_path, ("00,300", "03,000", "one"), ("06,000", "06,500", "a " * 28))
    with pytest.raises(UserError, match=r"s.srt: cue 2 \(6.00 s to 6.50 s\) has 55 letters, 110 a second"):
        Project(DubRequest(film, script)).read()


@pytest.mark.parametrize("options", [{"use_speech": False}, {"script": ""}])
def test_without_speech_the_script_is_not_planned(tmp_path, film, options):
    script = subtitles(tmp_path, ("06,000", "06,500", "a " * 28))
    made = dub(film, FakeEngine(), **({"script": script} | options))
    assert not made.speech.any() and made.receipt()["speech"] == []


def heard(samples: np.ndarray, *utterances: Utterance) -> list[SpokenUtterance]:
    threshold_dbfs = Listener(FakeEngine(), None, None).threshold_dbfs
    return list(
        find_speech(samples.astype(np.float32), 16_000, utterances, [threshold_dbfs] * len(utterances))
    )


def test_speech_is_found_where_it_is():
    samples = np.zeros(160_000)
    samples[20_000:30_000] = 0.01 * np.random.default_rng(0).normal(size=10_000)
    samples[100_000:100_100] = 0.5  # a click is no speech
    (spoken, silent) = heard(samples, Utterance("ten letter", 1, 2, (1,)), Utterance("two", 6, 8, (2,)))
    np.testing.assert_allclose(spoken.span_s, (1.25, 1.875), atol=0.011)
    assert spoken.error_s == 0 and spoken.warning is None and silent.span_s is None


def test_words_that_are_missing_are_noticed():
    samples = np.zeros(160_000)
    samples[20_000:24_000] = 0.01 * np.random.default_rng(0).normal(size=4_000)
    (spoken,) = heard(samples, Utterance("twenty letters of it", 1, 2, (1,)))
    assert "is spoken for 0.25 s only, too short for its 20 letters: words are missing" in spoken.warning


def test_speech_outside_its_times_is_an_error_of_that_size():
    spoken = SpokenUtterance(Utterance("one", 1, 2, (3,)), (1.2, 2.3))
    assert spoken.error_s == pytest.approx(0.3)
    assert spoken.warning.startswith("cue 3 (1.00 s to 2.00 s) is spoken from 1.20 s to 2.30 s")
