"""The command line as a user meets it: configs, checkpoints, faults, help and other commands."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from fractions import Fraction

import jax
import numpy as np
import pytest
import soundfile

import dualdub_jax
from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import abstract_params, save_bundle
from tests.apps.commands import fails, voice_file
from tests.films import make_film
from tests.tiny import tiny_config

ROOT = pathlib.Path(__file__).parents[2]


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

    monkeypatch.setattr("dualdub_jax.dubbing.stem_files.copy_track", interrupted)
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
