"""From an uploaded film to the files that are played and downloaded."""

import html
import io
import json
import re

import av
import numpy as np
import pytest
import soundfile

from dualdub_jax.apps.web.limits import Limits
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.media.film import FilmReader
from tests.apps.web.conftest import GatedEngine, serving
from tests.apps.web.requests import request
from tests.apps.web.visitor import Visitor, text_of
from tests.fake_engine import FakeEngine
from tests.films import make_film


def _voice(seed: int) -> bytes:
    file = io.BytesIO()
    noise = 0.1 * np.random.default_rng(seed).normal(size=16_000)
    soundfile.write(file, noise, 16_000, format="WAV")
    return file.getvalue()


def player_of(visitor: Visitor, outputs: list) -> tuple[str, dict]:
    """The folder of a job's addresses, and its player's document."""
    assert outputs[1] is not None, outputs[0]
    address = "/" + re.search(r'src="([^"]+)"', outputs[1])[1]
    return address.rsplit("/", 1)[0], visitor.http.get(address).json()


def fetch_wav(visitor: Visitor, address: str) -> np.ndarray:
    samples, _ = soundfile.read(io.BytesIO(visitor.http.get(address).content), dtype="float32")
    return samples


def test_the_tracks_are_those_of_the_python_api(visitor, tmp_path, checkpoint):
    film = make_film(tmp_path / "film.mp4")
    visitor.call("take_film", visitor.uploaded(film))
    folder, player = player_of(visitor, visitor.call("generate", *request("lay blue", seed="7")))
    expected = DualDub(FakeEngine(), checkpoint).dub(film, "lay blue", seed=7)
    (take,) = player["takes"]
    for name in ("speech", "background", "mix"):
        samples = fetch_wav(visitor, f"{folder}/{take['tracks'][name]['sound']}")
        np.testing.assert_array_equal(samples, getattr(expected, name))
        assert take["tracks"][name]["wave"].startswith("<svg")
    assert player["duration_s"] == 2.0 and player["words"][0]["text"] == "lay blue"
    receipt = visitor.http.get(f"{folder}/film.receipt.json").json()
    assert receipt["seed"] == 7 and receipt["script"] == "lay blue"


@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_a_film_that_browsers_cannot_play_has_a_preview(visitor, tmp_path, suffix):
    film = make_film(tmp_path / "film.avi", codec="mpeg4", size=(320, 200), num_frames=30)
    visitor.call("take_film", visitor.uploaded(film))
    folder, player = player_of(visitor, visitor.call("generate", *request(suffix=suffix)))
    assert not player["picture_has_mix"]
    for name, codec, sounds in (("picture", "h264", 0), (f"film.dubbed{suffix}", "mpeg4", 1)):
        (tmp_path / name).write_bytes(visitor.http.get(f"{folder}/{name}").content)
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].codec_context.name == codec
            assert len(container.streams.audio) == sounds
    with FilmReader(tmp_path / "picture") as reader:
        assert reader.film.duration_s == pytest.approx(30 / 25) and reader.film.size == (480, 300)


@pytest.mark.parametrize(
    ("name", "codec", "delivered"),
    [
        ("a.mp4", "libx264", "a.dubbed.mp4"),
        ("a.mov", "libx264", "a.dubbed.mp4"),
        ("a.webm", "libvpx", "a.dubbed.webm"),
        ("a.avi", "msmpeg4", "a.dubbed.mkv"),
    ],
)
def test_the_file_format_fits_the_film(visitor, tmp_path, name, codec, delivered):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / name, codec=codec, num_frames=20)))
    outputs = visitor.call("generate", *request(use_speech=False))
    assert outputs[2] is not None, outputs[0]
    assert f">{delivered}</a>" in outputs[2]


def test_a_playable_film_is_shown_with_its_sound(visitor, tmp_path):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4")))
    folder, player = player_of(visitor, visitor.call("generate", *request()))
    assert player["picture_has_mix"]
    shown = visitor.http.get(f"{folder}/picture")
    assert shown.headers["content-type"] == "video/mp4"
    assert shown.content == visitor.http.get(f"{folder}/film.dubbed.mp4").content


def test_downloads_are_never_pages_of_this_origin(visitor, tmp_path):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4")))
    folder, _ = player_of(visitor, visitor.call("generate", *request()))
    for name in ("film.report.html", "film.receipt.json"):
        answer = visitor.http.get(f"{folder}/{name}")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_last_film_is_shown_again_after_a_reload(served, visitor, tmp_path):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4")))
    outputs = visitor.call("generate", *request())
    reloaded = Visitor(served.address, "reloaded")
    reloaded.http.cookies = visitor.http.cookies
    assert reloaded.call("show")[1] == outputs[1]
    assert served.visitor().call("show")[1] is None


def test_a_new_film_removes_the_one_before(served, visitor, tmp_path):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4")))
    first, _ = player_of(visitor, visitor.call("generate", *request()))
    second, _ = player_of(visitor, visitor.call("generate", *request(seed="1")))
    assert visitor.http.get(f"{first}/mix.wav").status_code == 404
    assert visitor.http.get(f"{second}/mix.wav").status_code == 200
    session = served.server.sessions.find(visitor.secret)
    assert len(list(session.folder.glob("*/files"))) == 1


def test_a_page_dubs_the_film_that_it_shows(served, visitor, tmp_path):
    """Not the one that another page of the same browser has taken."""
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4")))
    other = Visitor(served.address, "another page")
    other.http.cookies = visitor.http.cookies
    assert "no film yet" in text_of(other.call("generate", *request())[0])
    other.call("take_film", other.uploaded(make_film(tmp_path / "other.mp4")))
    assert "upload it again" in visitor.join("generate", *request()).text
    assert player_of(other, other.call("generate", *request()))[1]["title"] == "other.mp4"


def test_refused_jobs_leave_nothing_behind(served, visitor, tmp_path):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4")))
    folder, _ = player_of(visitor, visitor.call("generate", *request()))
    for _ in range(3):
        shown = text_of(visitor.call("generate", *request(seed="x"))[0])
        assert "“Seed”" in shown and "not in these tests" not in shown  # which is of the last film
    session = served.server.sessions.find(visitor.secret)
    assert len([path for path in session.folder.iterdir() if path.is_dir()]) <= 3  # film, job, the last
    assert visitor.http.get(f"{folder}/mix.wav").status_code == 200


def test_each_speaker_of_a_script_has_a_voice(served, visitor, tmp_path):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4", num_frames=100)))
    cues = ("00:00:00,200 --> 00:00:01,800\n[MARY] lay blue", "00:00:02,200 --> 00:00:03,800\n[JOHN] at nine")
    script = f"1\n{cues[0]}\n\n2\n{cues[1]}\n"
    shown, *slots = visitor.call("check_script", script)
    assert shown == "" and [slot["label"] for slot in slots[:2]] == ["Voice of MARY", "Voice of JOHN"]
    assert [slot["visible"] for slot in slots] == [True, True] + [False] * (len(slots) - 2)
    voices = []
    for seed, name in enumerate(("mary", "john")):
        (tmp_path / f"{name}.wav").write_bytes(_voice(seed))
        voices.append(visitor.uploaded(tmp_path / f"{name}.wav"))
        assert visitor.call("take_voice", voices[-1]) == [""]
    _, player = player_of(visitor, visitor.call("generate", *request(script, voices=voices)))
    assert [word["speaker"] for word in player["words"]] == ["MARY", "JOHN"]
    outputs = visitor.call("generate", *request(script, voices=[voices[0]]))
    assert "no voice for JOHN (cue 2)" in text_of(outputs[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"use_speech": False, "use_background": False},
            "“Speech” off and “Background” off: nothing",
        ),
        ({"rt60_s": "9"}, "rt60_s (“Reverberation time”) is 9: choose from 0.05 to 3.2"),
        ({"suffix": ".exe"}, ".exe"),
        ({"seed": "1.5"}, "“Seed”: expected a whole number, got 1.5"),
        ({"seed": "1e30"}, "“Seed” is 1000000000000000019884624838656: choose from 0 to 2147483647"),
        ({"lufs": "loud"}, "“Loudness”: expected a number, got 'loud'"),
        ({"duck": "nan"}, "“Ducking”: expected a number, got 'nan'"),
        ({"max_rate": "0.5"}, "max_rate (“Fastest speech”) is 0.5"),
    ],
)
def test_bad_settings_are_explained_in_the_page_s_words(visitor, tmp_path, settings, message):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4")))
    visitor.join("generate", *request(**settings))
    told = [
        html.unescape(json.dumps(m["output"], ensure_ascii=False))
        for m in visitor.messages()
        if "output" in m
    ]
    assert any(message in text for text in told)


def test_fields_that_are_left_empty_mean_the_defaults(visitor, tmp_path):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4")))
    empty = dict.fromkeys(("seed", "language", "duck", "lufs", "max_rate", "rt60_s", "own_sound_db"))
    folder, player = player_of(visitor, visitor.call("generate", *request(None, **empty)))
    assert player["words"] == [] and player["takes"][0]["tracks"]["speech"]["wave"] is None
    assert visitor.http.get(f"{folder}/film.srt").status_code == 404


def test_the_mix_is_as_it_is_asked_for(visitor, tmp_path):
    film = make_film(tmp_path / "film.mp4", has_audio=True, num_frames=100)
    visitor.call("take_film", visitor.uploaded(film))
    asked = {
        "lufs": -20.0,
        "own_sound_db": -12.0,
        "add_subtitles": True,
        "language": "en",
        "stem_rate": "48000 Hz",
    }
    folder, player = player_of(visitor, visitor.call("generate", *request("lay blue", **asked)))
    assert list(player["takes"][0]["tracks"]) == ["speech", "background", "original", "mix"]
    receipt = visitor.http.get(f"{folder}/film.receipt.json").json()
    assert receipt["loudness"]["after_lufs"] == pytest.approx(-20.0, abs=0.5)
    assert "lay blue" in visitor.http.get(f"{folder}/film.srt").text
    (tmp_path / "dubbed.mp4").write_bytes(visitor.http.get(f"{folder}/film.dubbed.mp4").content)
    with av.open(str(tmp_path / "dubbed.mp4")) as container:
        assert container.streams.audio[0].language == "eng" and len(container.streams.subtitles) == 1
    stem = io.BytesIO(visitor.http.get(f"{folder}/original.wav").content)
    assert soundfile.info(stem).samplerate == 48_000


def test_what_is_shown_and_downloaded_names_files_and_not_the_server_s_folders(
    served, visitor, tmp_path, checkpoint
):
    film = make_film(tmp_path / "film.mp4", has_audio=True)
    (tmp_path / "mary.wav").write_bytes(_voice(0))
    (tmp_path / "words.txt").write_text("lay blue")
    visitor.call("take_film", visitor.uploaded(film))
    text, *_ = visitor.call("take_script", visitor.uploaded(tmp_path / "words.txt"))
    outputs = visitor.call("generate", *request(text, visitor.uploaded(tmp_path / "mary.wav")))
    assert "film.dubbed.mp4: the soundtrack replaces the sound of film.mp4" in text_of(outputs[0])
    visitor.call("redo", "0.5", "1.5", None)
    folder, player = player_of(visitor, outputs)
    names = re.findall(r"<a [^>]*>([^<]+)</a>", outputs[2])
    assert len(names) == 7
    for content in [str(outputs), str(player)] + [
        visitor.http.get(f"{folder}/{name}").content.decode("latin-1") for name in names
    ]:
        assert str(served.server.root) not in content and str(checkpoint) not in content
    receipt = visitor.http.get(f"{folder}/film.receipt.json").json()
    inputs = receipt["inputs"]
    assert [inputs[name]["path"] for name in ("video", "voice", "script")] == [
        *("film.mp4", "mary.wav", "words.txt")
    ]
    assert receipt["checkpoint"]["path"] == checkpoint.name
    assert receipt["warnings"][0].startswith("film.dubbed.mp4: the soundtrack replaces the sound of film.mp4")


def test_a_container_that_cannot_hold_the_film_is_refused_before_the_work(served, visitor, tmp_path):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4")))
    calls = len(served.engine.calls)
    outputs = visitor.call("generate", *request(suffix=".webm"))
    assert text_of(outputs[0]) == (
        "film.dubbed.webm: WEBM cannot hold h264 video as it is in film.mp4; choose the file format .mp4"
    )
    assert len(served.engine.calls) == calls


def test_a_fault_of_ours_is_not_told_as_the_visitor_s(visitor, served, monkeypatch, capsys, tmp_path):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4")))

    def broken(self, **arguments):
        raise ZeroDivisionError("secret detail")

    with monkeypatch.context() as patch:
        patch.setattr(GatedEngine, "generate", broken)
        shown = visitor.call("generate", *request())[0]
    assert "a fault of the page" in shown and "secret" not in shown
    assert "secret detail" in capsys.readouterr().err
    assert "Done." in visitor.call("generate", *request())[0]


def test_files_are_removed_after_a_time_and_at_the_end(checkpoint, tmp_path):
    with serving(checkpoint, Limits(keep_hours=1)) as running:
        visitor, other = running.visitor(), running.visitor()
        for one in (visitor, other):
            one.call("take_film", one.uploaded(make_film(tmp_path / "film.mp4")))
            one.upload("voice.wav", b"a voice")
        folder, _ = player_of(visitor, visitor.call("generate", *request()))
        sessions = running.server.sessions
        sessions.find(visitor.secret).used_s -= 3601
        sessions.expire()
        assert visitor.http.get(f"{folder}/mix.wav").status_code == 404
        assert len(list((running.server.root / "sessions").iterdir())) == 1
        stored = list(running.server.root.rglob("voice.wav"))
        assert len(stored) == 1  # the other visitor has uploaded the same
        sessions.find(other.secret).used_s -= 3601
        sessions.expire()
        # Gradio leaves an empty file for each use of an upload, for the sweep to find.
        files = [path for path in running.server.root.rglob("*") if path.is_file()]
        assert not any(path.stat().st_size for path in files)
