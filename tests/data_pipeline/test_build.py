"""`dualdub data build` and `dualdub data inspect`, by their functions."""

import hashlib
import io
import json
import pathlib
import subprocess
import sys

import av
import pytest
import rich.console
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

from dualdub_jax.data_pipeline import record as records
from dualdub_jax.data_pipeline.build import build
from dualdub_jax.data_pipeline.inspection import inspect
from dualdub_jax.data_pipeline.record_writer import RecordWriter
from dualdub_jax.errors import UserError


def _quiet() -> rich.console.Console:
    return rich.console.Console(file=io.StringIO(), width=200)


def _build(out_dir: pathlib.Path, **kwargs) -> list[pathlib.Path]:
    kwargs = {"num_clips": 3, "num_processes": 1, "voice_bank": "tone", "console": _quiet()} | kwargs
    return build(kwargs.pop("name", "puppet_stage"), out_dir, **kwargs)


def _digests(folder: pathlib.Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    out_dir = tmp_path_factory.mktemp("data")
    _build(out_dir)
    return out_dir


def test_same_seed_same_bytes_for_any_number_of_processes(
    tmp_path: pathlib.Path, built: pathlib.Path
) -> None:
    _build(tmp_path / "two", num_processes=2)
    _build(tmp_path / "other_seed", name="puppet_stage/text_speech", seed=1)
    one, two = _digests(built / "puppet_stage"), _digests(tmp_path / "two" / "puppet_stage")
    assert any("array_record" in name for name in one)
    assert one == two
    for name, digest in _digests(tmp_path / "other_seed" / "puppet_stage" / "text_speech").items():
        assert "array_record" not in name or one[f"text_speech/{name}"] != digest


def test_layout_splits_and_fields(built: pathlib.Path) -> None:
    splits = {}
    for task in ("text_speech", "video_audio", "soundtrack"):
        builder = tfds.builder_from_directory(str(built / "puppet_stage" / task / "2.0.0"))
        splits[task] = {name: info.num_examples for name, info in builder.info.splits.items()}
        record = builder.as_data_source("train")[0]
        assert set(record) == set(records.RECORD)
        assert record["id"].decode().startswith(f"{task}/train/")
        json.loads(record["events"])
    assert splits["text_speech"] == splits["video_audio"] == {"train": 3, "validation": 3}
    assert splits["soundtrack"] == {"train": 3, "validation": 3, "test_seen": 3, "test_unseen": 3}


def test_ids_are_unique(built: pathlib.Path) -> None:
    builder = tfds.builder_from_directory(str(built / "puppet_stage" / "soundtrack" / "2.0.0"))
    ids = [record["id"] for split in builder.info.splits for record in builder.as_data_source(split)]
    assert len(ids) == len(set(ids)) == 12


def test_building_and_reading_load_no_tensorflow(tmp_path: pathlib.Path) -> None:
    code = (
        "import sys, tensorflow_datasets as tfds\n"
        "from dualdub_jax.data_pipeline.build import build\n"
        f"name, out_dir = 'puppet_stage/text_speech', {str(tmp_path)!r}\n"
        "(path,) = build(name, out_dir, num_clips=1, num_processes=1, voice_bank='tone')\n"
        "source = tfds.builder_from_directory(str(path)).as_data_source('train')\n"
        "assert source[0]['duration_s'] >= 2\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sizes_by_split_and_by_config(tmp_path: pathlib.Path) -> None:
    sizes = {"train": 2, "validation": 0, "video_audio/train": 1}
    paths = _build(tmp_path, name="puppet_stage/video_audio", num_clips=sizes)
    assert [str(path.relative_to(tmp_path)) for path in paths] == ["puppet_stage/video_audio/2.0.0"]
    info = tfds.builder_from_directory(str(paths[0])).info
    assert {name: split.num_examples for name, split in info.splits.items()} == {"train": 1}


def test_building_again_changes_nothing_and_other_settings_are_refused(tmp_path: pathlib.Path) -> None:
    _build(tmp_path, name="puppet_stage/text_speech")
    before = _digests(tmp_path)
    console = _quiet()
    _build(tmp_path, name="puppet_stage/text_speech", console=console)
    assert "already built" in console.file.getvalue()
    with pytest.raises(UserError, match="other settings"):
        _build(tmp_path, name="puppet_stage/text_speech", seed=7)
    assert _digests(tmp_path) == before


def test_splits_too_large_for_memory_are_the_same_bytes(
    built: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 1000)  # every split goes through files
    _build(tmp_path)
    assert _digests(tmp_path) == _digests(built)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "pupet_stage"}, "no such builder; did you mean puppet_stage"),
        ({"name": "puppet_stage/sound"}, "choose one of text_speech, video_audio, soundtrack"),
        ({"num_clips": {"training": 3}}, "'training': no such split"),
        ({"voice_bank": "kazoo"}, "choose one of hibari, tone"),
    ],
)
def test_bad_arguments_leave_nothing_behind(tmp_path: pathlib.Path, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        _build(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        _build(tmp_path / "out")


def test_a_full_disk_is_the_users_to_mend(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: RecordWriter, **kwargs) -> None:
        raise RuntimeError("Failed to finalize writing: write() failed: No space left on device")

    monkeypatch.setattr(RecordWriter, "download_and_prepare", full)
    with pytest.raises(UserError, match=r"No space left on device.*free some space"):
        _build(tmp_path, name="puppet_stage/text_speech")


def test_progress_is_plain_lines_off_a_terminal(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    console = _quiet()
    _build(tmp_path, name="puppet_stage/text_speech", console=console)
    assert "puppet_stage/text_speech: 6/6 clips, done" in console.file.getvalue()
    assert "\x1b" not in console.file.getvalue()
    assert capsys.readouterr().out == ""


def test_inspect_counts_and_draws(tmp_path: pathlib.Path, built: pathlib.Path) -> None:
    console = _quiet()
    figures = inspect(built, sheet=tmp_path / "sheet.png", console=console)
    assert len(figures) == 8
    train = figures["puppet_stage/soundtrack/train"]
    assert train["clips"] == train["with_video"] == train["with_script"] == 3
    assert 6 <= train["seconds"] <= 12 and train["classes"]["contacts"]
    assert figures["puppet_stage/text_speech/train"]["with_video"] == 0
    assert "puppet_stage/video_audio/validation  3 clips" in console.file.getvalue()
    with av.open(str(tmp_path / "sheet.png")) as container:
        picture = next(container.decode(video=0))
    assert picture.width == 12 * 130 and picture.height % 130 == 0


def test_inspect_of_nothing(tmp_path: pathlib.Path, built: pathlib.Path) -> None:
    with pytest.raises(UserError, match="no dataset there"):
        inspect(tmp_path)
    with pytest.raises(UserError, match="no clip has video"):
        inspect(built / "puppet_stage" / "text_speech", sheet=tmp_path / "s.png", console=_quiet())
    assert not (tmp_path / "s.png").exists()
