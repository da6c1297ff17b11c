"""Datasets on a store: built, inspected, prepared and read as on a local disk."""

import pickle

import numpy as np
import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.config import SourceConfig
from dualdub_jax.data_pipeline.build import build
from dualdub_jax.data_pipeline.dataset import Dataset
from dualdub_jax.data_pipeline.mixture import open_dataset, open_mixture
from dualdub_jax.data_pipeline.prepare import prepare
from dualdub_jax.data_pipeline.sidecars import SidecarStore
from dualdub_jax.errors import UserError
from dualdub_jax.stores.commit import remove_folder
from dualdub_jax.stores.path import find_files, is_remote

BEEPS = "tests.data_pipeline.beeps:Beeps"


@pytest.fixture
def built(store):
    (folder,) = build(f"{BEEPS}/loud", store, num_beeps=4, num_processes=1)
    return folder


def test_the_command_says_where_the_dataset_is_and_it_is_there(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["data", "build", BEEPS, "--out", str(store), "--beeps", "4", "--processes", "1"]
    assert main(command) == 0
    capsys.readouterr()
    assert main(command) == 0
    assert f"beeps/loud: already built in {store}/beeps/loud/0.3.0" in capsys.readouterr().err
    assert main(["data", "inspect", str(store)]) == 0
    assert "beeps/soft/train  3 clips" in capsys.readouterr().out
    assert main([*command[:-3], "5", *command[-2:]]) == 2
    assert "holds a build with other settings" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []  # no folder called gs:


def test_records_are_those_of_a_local_build(store, built, tmp_path):
    assert built == store / "beeps" / "loud" / "0.3.0"
    build(f"{BEEPS}/loud", tmp_path, num_beeps=4, num_processes=1)
    here, there = (open_dataset(str(where), "beeps/loud", "train") for where in (tmp_path, store))
    assert len(here) == len(there) == 3
    for one, other in zip(here, there, strict=True):
        assert {k: v for k, v in one.items() if k != "events"} == {
            k: v for k, v in other.items() if k != "events"
        }
    (source,) = open_mixture(str(store), (SourceConfig("beeps/loud"),), "train", "mixture")
    assert is_remote(source.folder)
    assert pickle.loads(pickle.dumps(source.records))[0]["id"] == here[0]["id"]


def test_an_interrupted_upload_is_no_dataset_and_is_written_again(store, built):
    (built / "dataset_info.json").unlink()
    (built / "beeps-train.array_record-00000-of-00009").write_text("left over")
    with pytest.raises(UserError, match=f"'beeps/loud': no such dataset in {store}"):
        open_dataset(str(store), "beeps/loud", "train")
    with pytest.raises(UserError, match="no dataset there; give a folder"):
        Dataset(built)
    build(f"{BEEPS}/loud", store, num_beeps=4, num_processes=1)
    assert len(open_dataset(str(store), "beeps/loud", "train")) == 3
    assert len(find_files(built, "*")) == 5


def test_a_failed_build_leaves_no_dataset_and_goes_on_with_its_items(store):
    with pytest.raises(RuntimeError, match="beep 1 is broken"):
        build(f"{BEEPS}/loud", store, num_beeps=4, fails_on=1, num_processes=1)
    left = find_files(store, "*")
    assert left and all(path.parent.parent == store / ".building" for path in left)
    build(f"{BEEPS}/loud", store, num_beeps=4, num_processes=1)
    assert len(open_dataset(str(store), "beeps/loud", "train")) == 3
    assert not [path for path in find_files(store, "*") if ".building" in str(path)]


def test_a_sidecar_is_prepared_shard_by_shard_and_read(built):
    def encode(records):
        return [np.full(2, len(record["background"])) for record in records]

    made = prepare(built, "lengths", "v1", encode, shard_size=2)
    folder = made.folder
    assert [path.name for path in find_files(folder, "*")] == [
        *("index.npy", "plan.json", "shard-00000.array_record", "shard-00001.array_record", "sidecar.json"),
    ]
    read = pickle.loads(pickle.dumps(SidecarStore.open(built, "lengths", "v1")))
    for record in Dataset(built).records("train"):
        np.testing.assert_array_equal(read.get(record["id"].decode()), encode([record])[0])
    # Killed before the header and one shard: only the missing shard is made again.
    for name in ("sidecar.json", "shard-00001.array_record"):
        (folder / name).unlink()
    with pytest.raises(UserError, match="this sidecar is not complete"):
        SidecarStore.open(built, "lengths", "v1")
    seen = []
    prepare(built, "lengths", "v1", lambda records: seen.extend(records) or encode(records), shard_size=2)
    assert len(seen) == 1
    remove_folder(built, "dataset_info.json")
