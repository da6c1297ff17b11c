"""Bad input of `dualdub dub`: status 2, one line, nothing left behind."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from dualdub_jax.apps.cli import main
from tests.apps.commands import fails, voice_file
from tests.films import make_film, make_sound_only, truncate

ROOT = pathlib.Path(__file__).parents[2]


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
        ("-o out.webm", "out.webm: WEBM cannot hold h264 video as it is in film.mp4; try -o out.mp4"),
        ("-o film.webm", "film.webm: WEBM cannot hold h264 video as it is in film.mp4; try -o film.mkv"),
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
        ("--sed 1", "unknown argument --sed; see dualdub dub --help"),
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
