"""Bundles on a store, of either format: the same arrays as on a local disk, and half of one is refused."""

import json

import jax
import numpy as np
import pytest

import dualdub_jax
from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import load_bundle
from dualdub_jax.errors import UserError
from dualdub_jax.stores.commit import upload_file
from dualdub_jax.stores.digests import describe_folder
from dualdub_jax.stores.path import find_files
from tests.evaluation.tiny_bundle import write_tiny_bundle
from tests.films import make_film


@pytest.fixture(scope="module")
def local_bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "bundle")


def _same(first, second):
    jax.tree.map(np.testing.assert_array_equal, load_bundle(first)[1], load_bundle(second)[1])


@pytest.mark.parametrize("file_format", ["orbax", "safetensors"])
def test_exports_are_the_same_there_and_back(store, local_bundle, file_format, tmp_path, capsys):
    there, back = store / "bundle", tmp_path / "bundle"
    assert main(["export", str(local_bundle), str(there), "--format", file_format]) == 0
    assert f"wrote {there}" in capsys.readouterr().out
    assert main(["export", str(there), str(back), "--format", file_format]) == 0
    _same(back, local_bundle)
    assert main(["export", str(local_bundle), str(there)]) == 2
    assert f"{there}: already exists" in capsys.readouterr().err


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_film_is_dubbed_with_it(store, local_bundle, tmp_path, capsys):
    assert main(["export", str(local_bundle), str(store)]) == 0
    film = make_film(tmp_path / "film.mp4", num_frames=20, size=(64, 64))
    command = [
        "dub",
        str(film),
        "--no-speech",
        "--checkpoint",
        str(store),
        "--receipt",
        str(tmp_path / "receipt.json"),
    ]
    assert main(command) == 0, capsys.readouterr().err
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert receipt["checkpoint"]["path"] == str(store)
    assert (tmp_path / "film.soundtrack.mp4").is_file()


def test_a_bundle_copied_there_by_another_tool_is_read(store, local_bundle):
    for path in find_files(local_bundle, "*"):
        upload_file(path, store / path.relative_to(local_bundle).as_posix())
    _same(store, local_bundle)
    assert describe_folder(store)["sha256"] == describe_folder(local_bundle)["sha256"]


def test_half_of_an_upload_is_refused_by_name(store, local_bundle, tmp_path, capsys):
    assert main(["export", str(local_bundle), str(store)]) == 0
    header = (store / "config.json").read_text()
    (store / "config.json").unlink()
    for use in (lambda: load_bundle(store), lambda: dualdub_jax.load(str(store))):
        with pytest.raises(UserError, match=f"{store}: this bundle is not complete"):
            use()
    assert main(["export", str(store), str(tmp_path / "out")]) == 2
    assert f"{store}: this bundle is not complete" in capsys.readouterr().err
    # And one whose header is there while parameters are not, as other tools may leave it.
    (store / "config.json").write_text(header)
    for path in find_files(store / "params", "manifest.ocdbt"):
        path.unlink()
    with pytest.raises(UserError, match=f"^{store}"):
        load_bundle(store)


def test_an_export_that_fails_leaves_no_bundle(store, local_bundle, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of luck")

    monkeypatch.setattr("dualdub_jax.bundles.bundle.safetensors_tree.write", fail)
    assert main(["export", str(local_bundle), str(store), "--format", "safetensors"]) == 1
    assert not store.exists()
