"""`dualdub dub` with a mix as a film maker asks for it: loudness, ducking, kept sound, tracks, subtitles."""

import json
import pathlib
from fractions import Fraction

import av
import numpy as np
import pyloudnorm
import pysubs2
import pytest
import soundfile

from dualdub_jax.apps.cli import main
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.dubbing.ducking import Ducking
from dualdub_jax.errors import UserError
from tests.apps.commands import fails
from tests.fake_engine import FakeEngine
from tests.films import make_film
from tests.media.test_film import real_film

CUES = """WEBVTT

00:00:01.000 --> 00:00:01.900
<v Mary Ann>Hello there, rabbit.

00:00:04.000 --> 00:00:05.000
<v Tom>Who is it?
"""


def lufs(path: str) -> float:
    samples, rate_hz = soundfile.read(path)
    return pyloudnorm.Meter(rate_hz).integrated_loudness(samples)


def write_music(path: str, seconds: float = 8.0, rate_hz: int = 44_100) -> None:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    left = 0.3 * np.sin(2 * np.pi * 5_000 * time_s)
    soundfile.write(path, np.stack([left, 0.5 * left], axis=1), rate_hz)


def test_all_at_once(engine, capsys):
    make_film("film.mkv", num_frames=200, has_audio=True)
    write_music("music.wav")
    pathlib.Path("film.vtt").write_text(CUES)
    mix = ["--lufs", "-23", "--true-peak", "-3", "--duck", "9"]
    mix += ["--keep-original", "music.wav=-12dB", "--keep-original", "film=-20"]
    tracks = ["--audio-tracks", "mix,speech,background,original", "--language", "en"]
    files = ["--subtitles", "--subtitles", "s.srt", "--stems", "stems", "--stem-rate", "48000"]
    where = ["-o", "out.mkv", "--project", "p", "--receipt", "r.json"]
    argv = ["dub", "film.mkv", "--script", "film.vtt", "--voice", str(real_film())]
    assert main([*argv, *mix, *tracks, *files, *where]) == 0
    captured = capsys.readouterr()
    for name in ("stems/speech.wav", "stems/original.wav", "stems/mix.wav", "s.srt", "r.json"):
        assert f"wrote {name}" in captured.out
    # The stems are of one length and rate, and their mix is their ducked sum.
    stems = {path.stem: soundfile.read(path) for path in pathlib.Path("stems").iterdir()}
    assert {(samples.shape, rate_hz) for samples, rate_hz in stems.values()} == {((384_000, 2), 48_000)}
    receipt = json.loads(pathlib.Path("r.json").read_text())
    loudness = receipt["loudness"]
    assert lufs("stems/mix.wav") == pytest.approx(-23, abs=0.3)
    assert loudness["after_lufs"] == pytest.approx(-23, abs=0.1) and loudness["true_peak_dbtp"] <= -3
    assert receipt["num_channels"] == 2 and receipt["sample_rate_hz"] == 44_100
    ducking = Ducking.restore(receipt["ducking"])
    assert [round(start_s) for start_s, _ in ducking.spans_s] == [1, 4]
    gains = ducking.gains(0, 384_000, 48_000)[:, None]
    speech, background, original, made = (
        stems[name][0] for name in ("speech", "background", "original", "mix")
    )
    if loudness["limited_db"] == 0:
        expected = receipt["mix_gain"] * (speech + gains * (background + original))
        assert np.sqrt(np.mean(np.square(made - expected))) < 2e-4
    assert [kept["of_film"] for kept in receipt["inputs"]["original"]] == [False, True]
    (take,) = json.loads(pathlib.Path("p/project.json").read_text())["takes"]
    assert take["mixdown"]["loudness"] == loudness
    # The music is in the mix, above what the model's rate can hold.
    spectrum = np.abs(np.fft.rfft(made[:48_000, 0]))
    assert 4_990 < spectrum[3_000:10_000].argmax() + 3_000 < 5_010
    with av.open("out.mkv") as copy:
        titles = [stream.metadata["title"] for stream in copy.streams if stream.type != "video"]
        assert titles == ["Mix", "Speech", "Background", "Original", "Spoken"]
        languages = [stream.metadata.get("language") for stream in copy.streams.audio]
        assert languages == ["eng", "eng", None, None]
    srt = pysubs2.load("s.srt")
    assert [event.plaintext for event in srt] == ["Mary Ann: Hello there, rabbit.", "Tom: Who is it?"]
    for event, spoken in zip(srt, receipt["speech"], strict=True):
        assert (event.start, event.end) == (
            pytest.approx(1000 * spoken["start_s"], abs=1),
            pytest.approx(1000 * spoken["end_s"], abs=1),
        )


def test_every_way_to_a_film_gives_the_same_files(engine, capsys, monkeypatch):
    """At once, resumed, as one of several takes, in a manifest, delivered again, and from Python."""
    recogniser = "dualdub_jax.evaluation.run.recognition.find_recogniser"
    monkeypatch.setattr(recogniser, lambda: (None, "not in this test"))
    monkeypatch.setattr("dualdub_jax.evaluation.run.take_scores.score_take", lambda project: {})
    make_film("film.mp4", num_frames=150, has_audio=True)
    write_music("music.wav")
    pathlib.Path("film.vtt").write_text(CUES)
    mix = {"lufs": -9.0, "true_peak": -7.0, "duck": 9.0, "keep_original": ["music.wav=-12dB", "film=-20dB"]}
    output = {"stem_rate": 48_000, "language": "en", "audio_tracks": ["mix", "original", "speech"]}
    of_mix = ["--lufs", "-9", "--true-peak", "-7", "--duck", "9"]
    of_mix += [part for kept in mix["keep_original"] for part in ("--keep-original", kept)]
    of_output = ["--stem-rate", "48000", "--language", "en", "--audio-tracks", "mix,original,speech"]
    dub = ["dub", "film.mp4", "--script", "film.vtt", *of_mix]

    def files(name: str) -> list[str]:
        where = ["-o", f"{name}.mp4", "--stems", name, "--receipt", f"{name}.json"]
        return [*of_output, *where, "--subtitles", "--subtitles", f"{name}.srt"]

    def made(name: str, folder: str = ".") -> dict:
        place = pathlib.Path(folder)
        receipt = json.loads((place / f"{name}.json").read_text())
        kept = ("verdict", "speech", "tracks", "loudness", "ducking", "mix_gain", "limiter_ceiling", "seed")
        stems = {path.name: path.read_bytes() for path in (place / name).iterdir()}
        film = [(place / f"{name}{suffix}").read_bytes() for suffix in (".mp4", ".srt")]
        return {key: receipt[key] for key in kept} | stems | {"film": film}

    assert main([*dub, *files("plain"), "--seed", "4"]) == 0
    expected = made("plain")
    assert expected["loudness"]["limited_db"] > 0 and len(expected["ducking"]["spans_s"]) == 2

    original = engine.generate
    engine.generate = lambda **_: (_ for _ in ()).throw(KeyboardInterrupt)
    project = ["--seed", "4", "--project", "p", "--resume"]
    assert main([*dub, *files("resumed"), *project]) == 130
    engine.generate = original
    assert main([*dub, *files("resumed"), *project]) == 0 and made("resumed") == expected
    assert main(["dub", "--project", "p", *files("again")]) == 0 and made("again") == expected

    assert main([*dub, "--seed", "3", "--takes", "2", "--project", "takes"]) == 0
    assert main(["dub", "--project", "takes", "--take", "2", *files("second")]) == 0
    assert made("second") == expected
    # A take that was retaken is as it was.
    assert main(["dub", "--project", "takes", "--retake", "cue:2", *files("retaken")]) == 0
    assert made("retaken")["mix.wav"] != expected["mix.wav"]
    assert main(["dub", "--project", "takes", "--take", "2", *files("second")]) == 0
    assert made("second") == expected

    line = {"video": "film.mp4", "script": "film.vtt", "seed": 4, **mix, **output}
    line |= {"out": "line.mp4", "stems": "line", "receipt": "line.json", "subtitles": [True, "line.srt"]}
    pathlib.Path("films.jsonl").write_text(json.dumps(line))
    assert main(["dub", "--manifest", "films.jsonl", "--out", "many"]) == 0
    assert made("line", "many") == expected

    soundtrack = DualDub(engine, pathlib.Path("fake")).dub("film.mp4", "film.vtt", seed=4, mix=mix)
    subtitles = [True, "python.srt"]
    soundtrack.write("python.mp4", "python", "python.json", subtitles=subtitles, **output)
    assert made("python") == expected
    capsys.readouterr()
    for option in (of_mix[:2], of_mix[2:4], of_mix[4:6], of_mix[6:8]):
        for way in (["--take", "1"], ["--retake", "cue:1"]):
            told = fails(capsys, "dub", "--project", "takes", *way, *option)
            assert f"{option[0]}: the project takes has its own; leave it out" in told


@pytest.mark.parametrize("suffix", [".vtt", ".ass", ".srt"])
def test_subtitle_files_name_speakers_as_their_format_does(engine, suffix):
    make_film("film.mp4", num_frames=150)
    pathlib.Path("film.vtt").write_text(CUES)
    assert main(["dub", "film.mp4", "--script", "film.vtt", "--subtitles", f"out{suffix}"]) == 0
    text = pathlib.Path(f"out{suffix}").read_text()
    if suffix == ".vtt":
        assert text.startswith("WEBVTT") and "<v Mary Ann>Hello there, rabbit." in text
    elif suffix == ".ass":
        assert [event.name for event in pysubs2.load(f"out{suffix}")] == ["Mary Ann", "Tom"]
    else:
        assert "Mary Ann: Hello there, rabbit." in text
    with av.open("film.soundtrack.mp4") as copy:
        assert not copy.streams.subtitles  # a file was asked for, and no track


def test_words_without_times_are_subtitles_too(engine):
    make_film("film.mp4", num_frames=60)
    assert main(["dub", "film.mp4", "--script", "Hello, Rabbit!", "--subtitles", "out.srt"]) == 0
    assert [event.plaintext for event in pysubs2.load("out.srt")] == ["Hello, Rabbit!"]


def test_without_words_the_subtitles_are_empty_and_it_is_said(engine, capsys):
    make_film("film.mp4")
    assert main(["dub", "film.mp4", "--subtitles", "out.vtt", "--subtitles"]) == 0
    assert "warning: nothing is spoken: the subtitles are empty" in capsys.readouterr().err
    assert pathlib.Path("out.vtt").read_text().startswith("WEBVTT")
    with av.open("film.soundtrack.mp4") as copy:
        assert not copy.streams.subtitles


def test_stems_at_another_rate_are_exactly_as_long_as_the_film(engine):
    film = make_film("film.mp4", rate=Fraction(24000, 1001), num_frames=61)
    assert main(["dub", str(film), "--script", "words", "--stems", "s", "--stem-rate", "48000"]) == 0
    for path in pathlib.Path("s").iterdir():
        info = soundfile.info(path)
        assert (info.frames, info.samplerate) == (round(Fraction(61 * 1001, 24000) * 48_000), 48_000)
        assert info.subtype == "PCM_16"


def test_the_sound_of_the_film_itself_is_kept_and_not_said_to_be_replaced(engine, capsys):
    make_film("film.mp4", has_audio=True)
    argv = ["dub", "film.mp4", "--keep-original", "film=-6dB", "--stems", "s"]
    assert main([*argv, "--audio-tracks", "original,mix"]) == 0
    assert capsys.readouterr().err == ""
    samples, rate_hz = soundfile.read("s/original.wav")
    level = np.sqrt(np.mean(np.square(samples[rate_hz // 2 : rate_hz, 0])))
    assert level == pytest.approx(0.2 / np.sqrt(2) * 10 ** (-6 / 20), rel=0.05)
    with av.open("film.soundtrack.mp4") as copy:
        names = [stream.metadata["name"] for stream in copy.streams.audio]
        defaults = [bool(stream.disposition & av.stream.Disposition.default) for stream in copy.streams.audio]
    assert (names, defaults) == (["Original", "Mix"], [False, True])


def test_a_mono_decoder_at_its_own_rate_stays_so(engine):
    make_film("film.mp4")
    assert main(["dub", "film.mp4", "--script", "words", "--lufs", "-16", "--stems", "s"]) == 0
    assert soundfile.info("s/mix.wav").channels == 1 and soundfile.info("s/mix.wav").samplerate == 16_000
    assert lufs("s/mix.wav") == pytest.approx(-16, abs=0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lufs", "23"], "lufs (--lufs) is 23: choose from -50 to -5 LUFS"),
        (["--lufs", "loud"], "--lufs: expected a number, got 'loud'"),
        (["--lufs", "-23dB"], "--lufs: expected a number, got '-23dB'"),
        (["--stem-rate", "48000"], "--stem-rate: only goes with --stems DIR"),
        (["--duck", "-3"], "duck (--duck) is -3: choose from 0 to 40 dB"),
        (["--true-peak", "3"], "true_peak (--true-peak) is 3"),
        (["--keep-original", "music.wav"], "names no sound with its gain; give FILE=GAIN"),
        (["--keep-original", "none.wav=-3"], "none.wav: no such file"),
        (["--keep-original", "film=-3"], "film.mp4: has no sound to keep"),
        (["--keep-original", "film.mp4=-3"], "film.mp4: has no sound to keep"),
        (["--stem-rate", "48"], "expected a whole number from 8000 to 192000, got '48'"),
        (["--audio-tracks", "mix,drums"], "no track drums; there are speech, background, mix"),
        (["--audio-tracks", "original"], "no track original; it needs --keep-original"),
        (["--audio-tracks", "mix,mix"], "name at least one track, and each of them once"),
        (["--language", "klingon"], "language (--language) is 'klingon': give a code"),
        (["--subtitles", "out.txt"], "out.txt: unknown kind of subtitle file; end the name in one of .srt"),
        (["--subtitles", "none/out.srt"], "there is no folder none"),
        (["--subtitles", "words.srt", "--script", "words.srt"], "words.srt: is an input and would be"),
    ],
)
def test_what_cannot_be_had_is_said_before_the_work(engine, capsys, options, message):
    make_film("film.mp4")
    pathlib.Path("words.srt").write_text("1\n00:00:00,100 --> 00:00:01,900\nHello there.\n")
    assert message in fails(capsys, "dub", "film.mp4", "--script", "words", *options)
    assert not engine.calls


def test_a_sound_is_not_overwritten_by_its_stem(engine, capsys):
    make_film("film.mp4")
    pathlib.Path("stems").mkdir()
    write_music("stems/original.wav")
    options = ["--keep-original", "stems/original.wav=-3", "--stems", "stems"]
    assert "original.wav: is an input and would be overwritten" in fails(capsys, "dub", "film.mp4", *options)


def test_python_takes_the_same_names(tmp_path):
    film = make_film(tmp_path / "film.mp4", num_frames=60)
    write_music(str(tmp_path / "music.wav"))
    model = DualDub(FakeEngine(), tmp_path)
    made = model.dub(
        film,
        script="hello",
        mix={"lufs": -20, "duck": 6, "keep_original": {str(tmp_path / "music.wav"): -12}},
    )
    assert made.original.shape == made.mix.shape == (round(2.4 * 44_100), 2)
    assert made.project.mixdown.loudness.after_lufs == pytest.approx(-20, abs=0.1)
    files = made.write(
        tmp_path / "out.mp4",
        stems=tmp_path / "s",
        subtitles=[True, tmp_path / "out.srt"],
        stem_rate=48_000,
        audio_tracks=("mix", "speech"),
        language="en",
    )
    assert {path.name for path in files} >= {"out.mp4", "original.wav", "out.srt"}
    assert model.dub(film, script="hello").original is None
    with pytest.raises(UserError, match="no track original; it needs"):
        model.dub(film, script="hello").write(tmp_path / "b.mp4", audio_tracks=["original"])


@pytest.mark.parametrize(
    ("speech_hz", "background_hz", "music_hz", "mix_hz"),
    [(24_000, 44_100, 8_000, 44_100), (22_050, 11_025, 96_000, 48_000), (16_000, 16_000, None, 16_000)],
)
def test_odd_rates(tmp_path, speech_hz, background_hz, music_hz, mix_hz):
    film = make_film(tmp_path / "film.mp4", rate=Fraction(30000, 1001), num_frames=67)
    mix = {"lufs": -18}
    if music_hz is not None:
        write_music(str(tmp_path / "music.wav"), 3.0, music_hz)
        mix["keep_original"] = [f"{tmp_path}/music.wav=-9dB"]
    engine = FakeEngine(rates_hz={"speech": speech_hz, "background": background_hz})
    made = DualDub(engine, tmp_path).dub(film, script="hello", mix=mix)
    assert made.sample_rate_hz == mix_hz and len(made.mix) == round(Fraction(67 * 1001, 30000) * mix_hz)
    measured = pyloudnorm.Meter(mix_hz).integrated_loudness(made.mix.astype(np.float64))
    assert measured == pytest.approx(-18, abs=0.3)
    for rate_hz in (44_100, 48_000):
        made.write(tmp_path / "out.mkv", stems=tmp_path / f"{rate_hz}", stem_rate=rate_hz)
        lengths = {soundfile.info(path).frames for path in (tmp_path / f"{rate_hz}").iterdir()}
        assert lengths == {round(Fraction(67 * 1001, 30000) * rate_hz)}


def test_a_kept_project_keeps_its_mix(engine, capsys):
    """Opened, moved and taken again, as often as one likes; gains and kept sound stay."""
    make_film("film.mkv", num_frames=150)
    write_music("music.wav", rate_hz=16_000)
    pathlib.Path("film.vtt").write_text(CUES)
    begun = ["dub", "film.mkv", "--script", "film.vtt", "--lufs", "-20", "--duck", "9"]
    begun += ["--keep-original", "music.wav=-12dB"]
    assert main([*begun, "--project", "p", "--stems", "a"]) == 0
    for seed in ("5", "6"):
        retake = ["dub", "--project", "p", "--retake", "cue:2", "--seed", seed]
        assert main([*retake, "-o", "b.mkv", "--stems", "b", "--audio-tracks", "mix,original"]) == 0
    first, last = ({p.stem: soundfile.read(p)[0] for p in pathlib.Path(d).iterdir()} for d in "ab")
    np.testing.assert_array_equal(last["original"], first["original"])
    rate_hz = soundfile.info("a/mix.wav").samplerate
    begin, end = round(3.9 * rate_hz), round(5.1 * rate_hz)
    for name in ("speech", "mix"):
        np.testing.assert_array_equal(last[name][:begin], first[name][:begin])
        np.testing.assert_array_equal(last[name][end:], first[name][end:])
        assert not np.array_equal(last[name], first[name])
    pathlib.Path("music.wav").rename("elsewhere.wav")  # the project has a copy
    pathlib.Path("p").rename("moved")
    assert main(["dub", "--project", "moved", "--take", "1", "-o", "c.mkv", "--stems", "c"]) == 0
    np.testing.assert_array_equal(soundfile.read("c/mix.wav")[0], first["mix"])
    pathlib.Path("elsewhere.wav").rename("music.wav")
    assert main([*begun, "--project", "moved", "--resume", "-o", "d.mkv"]) == 0
    capsys.readouterr()
    begun[begun.index("-20")] = "-19"
    assert "--lufs was -20.0 and is -19.0" in fails(capsys, *begun, "--project", "moved", "--resume")
