"""The command line as a user meets it: exit status, one line for bad input, nothing left behind."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import wave
from fractions import Fraction

import jax
import numpy as np
import pytest
import soundfile

import dualdub_jax
from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import abstract_params, save_bundle
from dualdub_jax.dubbing.dub import DualDub
from tests.fake_engine import FakeEngine
from tests.films import damage_last_packets, make_film, make_sound_only, truncate, video_packets
from tests.media.test_film import real_film
from tests.tiny import tiny_config

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def engine(monkeypatch, tmp_path) -> FakeEngine:
    """The command line with a stand-in for the model, in an empty folder."""
    fake = FakeEngine()
    monkeypatch.setattr(dualdub_jax, "load", lambda path=None, **_: DualDub(fake, pathlib.Path("fake")))
    monkeypatch.chdir(tmp_path)
    return fake


def files_in(folder: pathlib.Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def fails(capsys, *argv: str) -> str:
    """Runs a command that must end with status 2, one line, and nothing written; returns the line."""
    before = files_in(pathlib.Path.cwd())
    assert main([str(arg) for arg in argv]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("dualdub: ") and "Traceback" not in error
    assert files_in(pathlib.Path.cwd()) == before
    return error


def voice_file(name: str, samples: np.ndarray) -> None:
    soundfile.write(name, samples, 16_000)


# ------------------------------------------------------------------------------------------ good input


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
        assert pathlib.Path(f"p/tracks/{name}.wav").read_bytes() == pathlib.Path(f"s/{name}.wav").read_bytes()
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


# ------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("gone.mp4", lambda p: None, "gone.mp4: no such file"),
        ("empty.mp4", lambda p: p.touch(), "empty.mp4: the file is empty"),
        ("letter.mp4", lambda p: p.write_text("Dear all,\n" * 300), "letter.mp4: not a media file"),
        (
            "cut.mp4",
            lambda p: truncate(make_film(p.with_name("whole.mp4"), noise=True), p, 4_000),
            "cut.mp4: the MP4 file has no index",
        ),
        ("song.mp4", lambda p: make_sound_only(p), "song.mp4: no video stream"),
        ("brief.mp4", lambda p: make_film(p, num_frames=12), "brief.mp4: the video is 0.48 s long"),
        ("folder.mp4", lambda p: p.mkdir(), "folder.mp4: is a folder"),
        ("two\nlines.mp4", lambda p: None, "two lines.mp4: no such file"),
        (
            "pipe.mp4",
            lambda p: os.mkfifo(p),
            "pipe.mp4: is a pipe or a device; save it as a video file first",
        ),
        ("loop.mp4", lambda p: p.symlink_to(p), "loop.mp4: cannot be read (Too many levels of symbolic"),
        (".", lambda p: None, ".: is a folder; give a video file"),
        ("/", lambda p: None, "/: is a folder; give a video file"),
        ("", lambda p: None, "argument VIDEO: expected a path, got an empty one"),
        ("http://host/film.mp4", lambda p: None, "expected the path of a local file, got http://host/film"),
        ("n" * 256, lambda p: None, "nnn: cannot be read (File name too long); give a readable video file"),
    ],
)
def test_bad_video(engine, capsys, tmp_path, name, make, message):
    make(tmp_path / name)
    assert message in fails(capsys, "dub", name, "-o", "out.mp4")
    assert engine.calls == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "s.txt",
            "caf\u00e9".encode("latin-1"),
            "s.txt: not UTF-8 (byte 3 is 0xe9); perhaps it is Windows-1252; save the script as UTF-8",
        ),
        (
            "s.txt",
            b"a" * 20_000,
            "s.txt: the script has 20000 characters as it is spoken but a video of 5.00 s holds at most ",
        ),
        (
            "s.txt",
            b"tell " * 4_000,
            "s.txt: the script has 19999 characters as it is spoken but a video of 5.00 s holds at most ",
        ),
        (
            "s.srt",
            b"1\n00:00:04,000 --> 00:00:06,000\nhi\n",
            "s.srt: cue 1 ends at 6.00 s but the video is 5.00 s",
        ),
        ("s.srt", b"no subtitles", "s.srt: line 1 belongs to no cue"),
        ("s.txt", b"", "s.txt: is empty: nothing to speak"),
        ("s.vtt", b"WEBVTT\n", "s.vtt: holds no cue"),
        ("gone.txt", None, "gone.txt: no such script file"),
    ],
)
def test_bad_script(engine, capsys, name, content, message):
    make_film("film.mp4", num_frames=125)
    if content is not None:
        pathlib.Path(name).write_bytes(content)
    line = fails(capsys, "dub", "film.mp4", "--script", name)
    assert message in line
    if "at most" in message:
        assert 80 <= int(line.split("at most ")[1].split()[0]) <= 100


def test_long_script_as_an_argument(engine, capsys):
    make_film("film.mp4", num_frames=125)
    assert "--script: the script has 20000 characters" in fails(
        capsys, "dub", "film.mp4", "--script", "b" * 20_000
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: None, "v.wav: no such file"),
        (lambda: pathlib.Path("v.wav").touch(), "v.wav: the file is empty"),
        (lambda: pathlib.Path("v.wav").write_text("no sound " * 200), "v.wav: not a media file"),
        (lambda: voice_file("v.wav", np.zeros(16_000)), "v.wav: the voice is silent"),
        (lambda: voice_file("v.wav", np.ones(6_400) / 2), "v.wav: the voice is 0.40 s long"),
    ],
)
def test_bad_voice(engine, capsys, make, message):
    make_film("film.mp4")
    make()
    assert message in fails(capsys, "dub", "film.mp4", "--voice", "v.wav", "--script", "hi")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("-o no/out.mp4", "no/out.mp4: there is no folder no; make it first"),
        ("-o film.mp4", "film.mp4: is an input and would be overwritten"),
        ("-o folder.mp4", "folder.mp4: is a folder"),
        ("-o film.mp4/out.mp4", "cannot be written (Not a directory)"),
        ("-o /proc/out.mp4", "/proc/out.mp4: "),
        ("-o out.wav", "out.wav: unknown kind of file"),
        ("-o out.webm", "out.webm: WEBM cannot hold h264 video as it is in film.mp4; try -o out.mkv"),
        ("--stems no/stems", "there is no folder no"),
        ("--stems film.mp4", "film.mp4: is a file, but the stems need a folder"),
        ("--receipt no/r.json", "no/r.json: there is no folder no"),
        ("-o out.mp4 --report out.mp4", "out.mp4: named for two outputs"),
        ("--stems new --receipt new/mix.wav", "new/mix.wav: named for two outputs"),
        ("--stems . --report speech.wav", "speech.wav: named for two outputs"),
        ("-o /dev/full", "/dev/full: is a device or a pipe; give the name of a file"),
        ("--receipt pipe", "pipe: is a device or a pipe"),
        ("--voice pipe", "pipe: is a pipe or a device; save it as a sound file first"),
        ("--voice /dev/zero", "/dev/zero: is a pipe or a device"),
        ("--script pipe", "pipe: is a pipe or a device; save it as a script file first"),
        ("--script /dev/zero", "/dev/zero: is a pipe or a device"),
        ("-o loop/out.mp4", "loop/out.mp4: cannot be written (Too many levels of symbolic links)"),
        ("--voice loop", "loop: cannot be read (Too many levels of symbolic links)"),
        ("--stems loop", "loop: is a file, but the stems need a folder"),
        (f"-o {'n' * 252}.mp4", "nnn.mp4: the name is too long"),
        (f"--receipt {'n' * 256}", "nnn: the name is too long"),
        (f"--stems {'n' * 256}", "nnn: the name is too long"),
        (f"--voice {'n' * 256}", "nnn: cannot be read (File name too long)"),
        (f"--project {'n' * 256}", "nnn: cannot be made (File name too long)"),
        ("-o https://host/out.mp4", "expected the path of a local file, got https://host/out.mp4"),
        ("--stems=", "argument --stems: expected a path, got an empty one"),
        ("--no-speech --no-background", "--no-speech and --no-background: nothing is left to generate"),
        ("--no-background", "film.mp4: nothing to generate"),
        ("--seed -1", "argument --seed: expected a whole number from 0 to"),
        ("--speech-top-p 1.5", "argument --speech-top-p: expected a number from"),
        ("--guidance-scale nan", "argument --guidance-scale: expected a number"),
        ("--sed 1", "unknown argument --sed; see dualdub --help"),
        ("--config.seed=1", "unknown argument --config.seed=1 (only `dualdub train`, `export`"),
    ],
)
def test_bad_usage_of_dub(engine, capsys, argv, message):
    make_film("film.mp4")
    pathlib.Path("folder.mp4").mkdir()
    os.mkfifo("pipe")
    pathlib.Path("loop").symlink_to("loop")
    assert message in fails(capsys, "dub", "film.mp4", *argv.split())
    assert engine.calls == []


@pytest.mark.parametrize("argv", [[], ["dubb"], ["dub"], ["data"], ["train"], ["data", "build"]])
def test_bad_usage(capsys, tmp_path, monkeypatch, argv):
    monkeypatch.chdir(tmp_path)
    assert "--help" in fails(capsys, *argv)


def test_longest_names(engine):
    """255 bytes, of which 85 characters have three each."""
    make_film("film.mp4")
    for out in ("n" * 251 + ".mp4", "\N{HIRAGANA LETTER A}" * 83 + "xx.mp4"):
        assert main(["dub", "film.mp4", "-o", out]) == 0 and pathlib.Path(out).is_file()


def test_a_disk_that_is_too_small_is_found_before_the_work(engine, capsys, monkeypatch):
    make_film("film.mp4", noise=True)
    usage = shutil.disk_usage(".")._replace(free=1_000)
    monkeypatch.setattr("dualdub_jax.dubbing.delivery.shutil.disk_usage", lambda folder: usage)
    assert "of its disk are free, but this film needs" in fails(capsys, "dub", "film.mp4", "--stems", "s")
    assert engine.calls == []


def test_inputs_are_checked_before_jax_is_imported(tmp_path):
    """Its import alone takes seconds."""
    make_film(tmp_path / "film.mp4")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    code = (
        "import sys; from dualdub_jax.apps.cli import main\n"
        "for argv in %r: assert main(argv.split()) == 2 and 'jax' not in sys.modules, argv"
    )
    commands = [
        "dub film.mp4 -o out.wav",
        "dub film.mp4 --script latin.txt",
        "dub film.mp4 --script gone.txt",
        "dub film.mp4 --voice silent.wav",
        "dub film.mp4 --project film.mp4",
        "dub film.mp4 --receipt gone/r.json",
        "train --config puppet --workdir film.mp4",
        "data build puppet_stage --out film.mp4",
        "evaluate --pairs gone.jsonl",
        "evaluate --suite puppet --json film.mp4/r.json",
        "evaluate --suite puppet --workdir film.mp4",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code % commands], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr.count("\n") == len(commands), done.stderr


def test_full_disk(engine, capsys, monkeypatch):
    make_film("film.mp4", noise=True)

    monkeypatch.setattr("dualdub_jax.media.mux._Guarded.__init__", _full_disk_init)
    line = fails(capsys, "dub", "film.mp4", "-o", "out.mp4", "--stems", "stems", "--receipt", "r.json")
    assert "out.mp4: the disk is full and nothing was written; free some space" in line
    assert len(engine.calls) == 1  # it was found while writing


def _full_disk_init(self, file):
    def write(data):
        if file.tell() > 20_000:
            raise OSError(28, "No space left on device")
        return file.write(data)

    self.error, self._write = None, write
    self.seek, self.tell = file.seek, file.tell


# ------------------------------------------------------------------------------------- config, checkpoint


def test_unknown_config_key(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ROOT / "configs" / "puppet.py"
    argv = ["train", "--config", config, "--workdir", "run"]
    line = fails(capsys, *argv, "--config.model.widht=5")
    assert "config.model.widht: no such config key; the nearest one is config.model.width" in line
    assert "gone.py: no such config file" in fails(capsys, "train", "--config", "gone.py", "--workdir", "run")
    assert "unknown argument" in fails(capsys, *argv, "--config.seed", "5")


def test_checkpoint_folders(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_film("film.mp4")
    (tmp_path / "other").mkdir()
    assert "gone: no such checkpoint folder" in fails(capsys, "dub", "film.mp4", "--checkpoint", "gone")
    assert "other: not a checkpoint" in fails(capsys, "dub", "film.mp4", "--checkpoint", "other")


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory) -> pathlib.Path:
    """A real checkpoint of a tiny model that has learned nothing."""
    rng = np.random.default_rng(0)
    config = tiny_config()
    params = jax.tree.map(lambda x: (0.1 * rng.normal(size=x.shape)).astype(x.dtype), abstract_params(config))
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_bundle(folder, config, params, {})
    return folder


def test_checkpoint_of_another_size(capsys, tmp_path, monkeypatch, tiny_checkpoint):
    monkeypatch.chdir(tmp_path)
    make_film("film.mp4")
    shutil.copytree(tiny_checkpoint, "other")
    header = json.loads(pathlib.Path("other/config.json").read_text())
    header["config"]["model"]["width"] = 64
    pathlib.Path("other/config.json").write_text(json.dumps(header))
    line = fails(capsys, "dub", "film.mp4", "--checkpoint", "other")
    assert re.match(r"dualdub: other: .*model/\S+.*\b32\b.*\b64\b|.*model/\S+.*\b64\b.*\b32\b", line)


def test_with_a_real_model(capsys, tmp_path, monkeypatch, tiny_checkpoint):
    """All the way through encoder, language model and codecs, in three windows."""
    model = dualdub_jax.load(tiny_checkpoint)
    monkeypatch.setattr(dualdub_jax, "load", lambda path, **_: model)
    monkeypatch.chdir(tmp_path)
    make_film("film.mp4", num_frames=18, rate=Fraction(24000, 1001))
    voice_file("voice.wav", 0.2 * np.sin(np.arange(16_000) / 9))
    argv = ["dub", "film.mp4", "--script", "go on", "--voice", "voice.wav"]
    # Its parameters are random: what it says is not heard.
    assert main(argv) == 2
    assert "nothing of the script is audible" in capsys.readouterr().err
    argv.append("--allow-inaudible")
    assert main([*argv, "--stems", "one", "--receipt", "r.json"]) == 0
    assert "is not audible" in capsys.readouterr().err
    tracks = [soundfile.read(f"one/{name}.wav")[0] for name in ("speech", "background", "mix")]
    assert all(len(track) == round(18 * 1001 / 24000 * 16_000) and track.any() for track in tracks)
    receipt = json.loads(pathlib.Path("r.json").read_text())
    assert len(receipt["windows"]) == 3 and len(receipt["checkpoint"]["sha256"]) == 64
    assert main([*argv, "--stems", "two"]) == 0
    assert pathlib.Path("one/mix.wav").read_bytes() == pathlib.Path("two/mix.wav").read_bytes()
    assert main([*argv, "--stems", "three", "--no-speech"]) == 0
    assert not soundfile.read("three/speech.wav")[0].any() and soundfile.read("three/mix.wav")[0].any()


# ------------------------------------------------------------------------------------------- other ways out


def test_a_fault_of_ours_is_status_1_with_a_traceback(engine, capsys, monkeypatch):
    make_film("film.mp4")
    monkeypatch.setattr(engine, "open_decoder", lambda *_: 1 / 0)
    assert main(["dub", "film.mp4"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert os.listdir() == ["film.mp4"]


def test_interrupt_is_one_line(engine, capsys, monkeypatch):
    make_film("film.mp4")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dualdub_jax.dubbing.delivery.copy_track", interrupted)
    assert main(["dub", "film.mp4", "--stems", "s"]) == 130
    assert capsys.readouterr().err == "dualdub: interrupted\n"
    assert os.listdir() == ["film.mp4"]


def test_help_is_quick_and_has_an_example():
    for command in ([], ["demo"], ["dub"], ["train"], ["data"], ["data", "build"], ["data", "inspect"],
                    ["data", "check"], ["evaluate"], ["aot"]):  # fmt: skip
        code = f"from dualdub_jax.apps.cli import main; import sys; main({[*command, '--help']!r})"
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert "example" in done.stdout and "dualdub " in done.stdout, command
        # Seconds on any machine; what matters is that no heavy package is imported.
        assert time.perf_counter() - start < 10
    code = (
        "import sys, dualdub_jax.apps.cli; from dualdub_jax.apps.arguments import make_parser; "
        "make_parser(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"jax", "flax", "av", "numpy", "orbax"} & set(done.stdout.split())


# ------------------------------------------------------------------------------------------- other commands


def test_train_passes_config_and_phases(monkeypatch, tmp_path, capsys):
    seen, kept = {}, []
    import dualdub_jax.curriculum.program as module
    from dualdub_jax.training import kept_pages

    monkeypatch.setattr(kept_pages, "keep_pages", lambda: kept.append(True))
    monkeypatch.setattr(module, "train", lambda config, workdir, phases, extend: seen.update(locals()))
    argv = ["train", "--config", str(ROOT / "configs" / "puppet.py"), "--workdir", str(tmp_path)]
    assert main([*argv, "--config.seed=7", "--phases", "a,b"]) == 0
    assert seen["config"].seed == 7 and seen["phases"] == ["a", "b"] and seen["workdir"] == tmp_path
    assert main(argv) == 0 and seen["phases"] is None
    assert main([*argv, "--config.keep_pages=false"]) == 0 and len(kept) == 2
    assert not capsys.readouterr().err
    monkeypatch.setattr(kept_pages, "missed_on_cpu", lambda: True)
    assert main([*argv, "--config.keep_pages=false"]) == 0 and not capsys.readouterr().err
    assert main(argv) == 0 and "JAX_PLATFORMS=cpu" in capsys.readouterr().err


def test_data_commands(monkeypatch, tmp_path, capsys):
    from dualdub_jax.data_pipeline import build
    from dualdub_jax.data_pipeline.builders.puppet_stage.builder import PuppetStage

    seen = []
    monkeypatch.setattr(build, "build_configs", lambda *args, **kwargs: seen.append((args, kwargs)))
    argv = ["data", "build", "puppet_stage/soundtrack", "--out", str(tmp_path), "--clips", "9", "--seed", "2"]
    assert main(argv) == 0
    expected = PuppetStage(seed=2, num_clips=9)
    assert seen == [((expected, tmp_path), {"only": "soundtrack", "num_processes": None, "beam": None})]
    monkeypatch.chdir(tmp_path)
    assert "no such builder; did you mean puppet_stage?" in fails(
        capsys, "data", "build", "pupet_stage", "--out", "x"
    )
    assert "gone: no dataset there" in fails(capsys, "data", "inspect", "gone")
