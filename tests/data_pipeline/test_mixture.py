"""Names in a mixture to datasets on disk, and the error for a missing one."""

import json
import pathlib
import shutil
from typing import Any

import pytest

from dualdub_jax.config import SourceConfig
from dualdub_jax.data_pipeline.mixture import open_dataset, open_mixture
from dualdub_jax.data_pipeline.record import RECORD
from dualdub_jax.errors import UserError
from tests.tiny_dataset import NUM_TEST_CLIPS, NUM_TRAIN_CLIPS


def test_weights_are_normalised_and_records_readable(tiny_data_dir: str) -> None:
    mixture = [SourceConfig("tiny_films/soundtrack", 3.0), SourceConfig("tiny_films/video_audio", 1.0)]
    first, second = open_mixture(tiny_data_dir, mixture, "train", "stage")
    assert (first.name, first.weight) == ("tiny_films/soundtrack", 0.75)
    assert (second.name, second.weight) == ("tiny_films/video_audio", 0.25)
    assert len(first.records) == NUM_TRAIN_CLIPS
    assert set(first.records[0]) == set(RECORD)


def test_split_and_version_are_chosen(tiny_data_dir: str) -> None:
    assert len(open_dataset(tiny_data_dir, "tiny_films/soundtrack", "test")) == NUM_TEST_CLIPS
    assert len(open_dataset(tiny_data_dir, "tiny_films/soundtrack/1.0.0", "test")) == NUM_TEST_CLIPS


def _copy(tiny_data_dir: str, target: pathlib.Path, **info: Any) -> None:
    """Copies a tiny dataset to `target`, with other values in its description."""
    shutil.copytree(pathlib.Path(tiny_data_dir) / "tiny_films" / "soundtrack" / "1.0.0", target)
    path = target / "dataset_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **info}))


def test_the_newest_whole_version_wins(tiny_data_dir: str, tmp_path: pathlib.Path) -> None:
    for version in ("9.0.0", "10.0.0"):
        _copy(tiny_data_dir, tmp_path / "tiny_films" / "soundtrack" / version, version=version)
    (tmp_path / "tiny_films" / "soundtrack" / "11.0.0").mkdir()  # interrupted: no description yet
    for file in (tmp_path / "tiny_films" / "soundtrack" / "9.0.0").glob("*.array_record*"):
        file.unlink()  # version 9 cannot be read
    assert open_dataset(str(tmp_path), "tiny_films/soundtrack", "train")[0]["duration_s"] >= 0.4


def test_a_dataset_without_configs_is_found(tiny_data_dir: str, tmp_path: pathlib.Path) -> None:
    _copy(tiny_data_dir, tmp_path / "tiny_films" / "1.0.0", configName="", configDescription="")
    assert len(open_dataset(str(tmp_path), "tiny_films", "train")) == NUM_TRAIN_CLIPS


def test_a_dataset_that_is_not_built_yet_names_the_command(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError, match=f"dualdub data build puppet_stage --out {tmp_path}"):
        open_dataset(str(tmp_path), "puppet_stage/soundtrack", "train")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("puppet_stage/soundtracks", "puppet_stage/soundtrack"),
        ("tiny_film/soundtrack", "tiny_films/soundtrack"),
        ("", "."),
    ],
)
def test_an_unknown_name_names_the_nearest(tiny_data_dir: str, name: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"'{name}': no such dataset.*nearest name is '{nearest}"):
        open_dataset(tiny_data_dir, name, "train")


def test_an_unknown_split_lists_the_known(tiny_data_dir: str) -> None:
    with pytest.raises(UserError, match="has no split 'tests'; it has test, train"):
        open_dataset(tiny_data_dir, "tiny_films/soundtrack", "tests")


def test_another_format_is_refused(tiny_data_dir: str, tmp_path: pathlib.Path) -> None:
    _copy(tiny_data_dir, tmp_path / "tiny_films" / "soundtrack" / "1.0.0", fileFormat="tfrecord")
    with pytest.raises(UserError, match=r'tfrecord files.*file_format="array_record"'):
        open_dataset(str(tmp_path), "tiny_films/soundtrack", "train")


def test_other_features_are_refused(tiny_data_dir: str, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "tiny_films" / "soundtrack" / "1.0.0"
    _copy(tiny_data_dir, folder)
    features = json.loads((folder / "features.json").read_text())
    del features["featuresDict"]["features"]["events"]
    (folder / "features.json").write_text(json.dumps(features))
    with pytest.raises(UserError, match=r"lack events.*record_features\(\)"):
        open_dataset(str(tmp_path), "tiny_films/soundtrack", "train")


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ([], "stage: is empty"),
        ([SourceConfig("tiny_films/soundtrack", 0.0)], "weight 0.0; weights are above 0"),
        ([SourceConfig("tiny_films/soundtrack")] * 2, "is there twice"),
    ],
)
def test_a_bad_mixture_is_named(tiny_data_dir: str, mixture: list[SourceConfig], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_mixture(tiny_data_dir, mixture, "train", "stage")
