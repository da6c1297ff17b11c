"""A corpus of one's own is one class: found by import path, built, named in a stage, trained on."""

import io
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
import rich.console

from dualdub_jax.apps.cli import main
from dualdub_jax.codecs.registry import codec_class, codec_config, make_codecs
from dualdub_jax.config import SourceConfig, StageConfig
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.data_pipeline import loader
from dualdub_jax.data_pipeline.build import build
from dualdub_jax.data_pipeline.dataset import Dataset
from dualdub_jax.errors import UserError
from dualdub_jax.types import STREAMS
from tests.phases import run_steps
from tests.tiny import tiny_config

BEEPS = "tests.data_pipeline.beeps:Beeps"


def _quiet() -> rich.console.Console:
    return rich.console.Console(file=io.StringIO(), width=200)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_builder_by_import_path(tmp_path: pathlib.Path, num_processes: int) -> None:
    console = _quiet()
    folders = build(BEEPS, tmp_path, num_processes=num_processes, console=console, num_beeps=7)
    assert [str(f.relative_to(tmp_path)) for f in folders] == ["beeps/loud/0.3.0", "beeps/soft/0.3.0"]
    dataset = Dataset(folders[0])
    assert dataset.splits == ["train"]
    assert sorted(clip["id"] for clip in dataset.records("train")) == [
        b"beep_0", b"beep_1", b"beep_3", b"beep_4", b"beep_6"
    ]  # fmt: skip
    metadata = dataset.metadata
    assert metadata["builder"] == "beeps" and metadata["recipe"] == {"beeps": 7}
    assert metadata["dropped"] == {"every third one": 4}
    assert metadata["summary"]["kept"] == 5 and metadata["summary"]["dropped"] == 4
    assert metadata["summary"]["hours_by_licence"] == {"CC0-1.0": 0.0006}
    printed = console.file.getvalue()
    assert "beep 2: dropped: every third one" in printed and "dropped: every third one 4" in printed


def test_the_command_line_takes_the_builders_own_options(tmp_path: pathlib.Path, capsys) -> None:
    argv = ["data", "build", f"{BEEPS}/soft", "--out", str(tmp_path), "--processes", "1"]
    assert main([*argv, "--beeps", "4"]) == 0
    assert len(Dataset(tmp_path / "beeps" / "soft" / "0.3.0").records("train")) == 3
    assert not (tmp_path / "beeps" / "loud").exists()
    capsys.readouterr()
    assert main([*argv, "--boops", "4"]) == 2
    assert "unknown argument --boops" in capsys.readouterr().err
    assert main([*argv, "--beeps", "5"]) == 2
    assert "holds a build with other settings" in capsys.readouterr().err


def test_one_batch_of_it_trains_a_model(tmp_path: pathlib.Path) -> None:
    build(BEEPS, tmp_path, num_processes=1, console=_quiet())
    mixture = (SourceConfig("beeps/loud", 1.0), SourceConfig("beeps/soft", 1.0))
    stage = StageConfig(name="beeps", mixture=mixture, batch_size=2, num_steps=2)
    config = tiny_config(data_dir=str(tmp_path))
    codecs = make_codecs(
        config,
        {s: codec_class(config, s).init(codec_config(config, s), jax.random.key(0)) for s in STREAMS},
    )
    batches = loader.make_batches(config, stage, codecs, seed=0)
    seen: list[dict[str, Any]] = []

    def one_batch() -> Iterator[dict[str, Any]]:
        batch = dict(next(batches))
        assert all(clip.startswith("beeps/") for clip in batch.pop("example_ids"))
        seen.append(batch)
        yield batch

    _, (metrics,) = run_steps(stage_phase(config, stage, one_batch), 1)
    batches.close()
    assert seen[0]["has_background"].all() and seen[0]["has_video"].all() and not seen[0]["has_speech"].any()
    assert np.isfinite(metrics["loss"]) and metrics["loss"] > 0


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_fault_of_a_builder_leaves_no_dataset(tmp_path: pathlib.Path, num_processes: int) -> None:
    with pytest.raises(RuntimeError, match="beep 4 is broken"):
        build(BEEPS, tmp_path, num_processes=num_processes, console=_quiet(), fails_on=4)
    assert not list(tmp_path.rglob("dataset_info.json"))
    build(BEEPS, tmp_path, num_processes=1, console=_quiet())
    assert len(list(tmp_path.rglob("dataset_info.json"))) == 2


def test_a_killed_process_is_started_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KILLED_ONCE", str(tmp_path / "killed"))
    once = "tests.data_pipeline.beeps:KilledOnce/loud"
    (folder,) = build(once, tmp_path / "killed_once", num_processes=2, console=_quiet())
    assert "a process that makes records was killed; started again" in capsys.readouterr().err
    (whole,) = build(f"{BEEPS}/loud", tmp_path / "whole", num_processes=1, console=_quiet())
    assert [path.name for path in sorted((tmp_path / "killed_once").iterdir())] == ["beeps"]
    for path in whole.glob("*.array_record*"):
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_processes_killed_again_and_again_are_reported_and_leave_no_dataset(tmp_path: pathlib.Path) -> None:
    message = r"--processes 2: a process that makes records was killed 3 times in a row.*use fewer"
    with pytest.raises(UserError, match=message):
        build("tests.data_pipeline.beeps:Killed", tmp_path, num_processes=2, console=_quiet())
    assert not list(tmp_path.rglob("dataset_info.json"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("beeps", "beeps: no such builder; choose one of anim400k, folder, grid, .*, puppet_stage"),
        ("tests.nowhere:Beeps", "cannot import tests.nowhere"),
        ("tests.data_pipeline.beeps:Boops", "did you mean Beeps"),
        ("tests.tiny_dataset:TinyFilms", "is no subclass of dualdub_jax.data_pipeline.builders.base.Builder"),
        ("tests.data_pipeline.beeps:Unfinished", "lacks make_records, splits, name"),
        (f"{BEEPS}/quiet", "beeps/quiet: no such config; choose one of loud, soft"),
    ],
)
def test_what_is_no_builder_is_named(tmp_path: pathlib.Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
