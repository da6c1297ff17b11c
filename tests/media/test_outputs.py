"""All files or none."""

import os

import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.media.outputs import Outputs, check_outputs


def test_all_files_appear_at_the_commit(tmp_path):
    (tmp_path / "a").write_text("old")
    with Outputs() as outputs:
        outputs.make_folder(tmp_path / "sub")
        for path in (tmp_path / "a", tmp_path / "sub" / "b"):
            with outputs.open(path) as file:
                file.write(b"new")
        assert outputs.read(tmp_path / "a") == b"new"
        assert outputs.sizes == {tmp_path / "a": 3, tmp_path / "sub" / "b": 3}
        assert (tmp_path / "a").read_text() == "old"
        outputs.commit()
    assert (tmp_path / "a").read_text() == (tmp_path / "sub" / "b").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["a", "sub"] and os.listdir(tmp_path / "sub") == ["b"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_nothing_stays_after_an_error(tmp_path, error):
    with pytest.raises(error), Outputs() as outputs:
        outputs.make_folder(tmp_path / "sub")
        with outputs.open(tmp_path / "a") as file:
            file.write(b"whole")
        with outputs.open(tmp_path / "sub" / "b") as file:
            file.write(b"half")
            raise error
    assert os.listdir(tmp_path) == []


def test_full_disk_names_the_file(tmp_path):
    def write():
        with Outputs() as outputs, outputs.open(tmp_path / "film.mp4") as file:
            file.write(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"film.mp4: the disk is full and nothing was written"):
        write()
    assert os.listdir(tmp_path) == []


def test_check_leaves_no_trace(tmp_path):
    check_outputs([tmp_path / "a", tmp_path / "b"], [tmp_path / "c"])
    assert os.listdir(tmp_path) == []


def test_check_finds_what_cannot_be_written(tmp_path):
    film = tmp_path / "film.mp4"
    film.write_text("film")
    cases = [
        ([tmp_path / "no" / "a"], [], "there is no folder"),
        ([film / "a"], [], "cannot be written (Not a directory)"),
        ([tmp_path], [], "is a folder; give the name of a file"),
        ([tmp_path / "a", tmp_path / "." / "a"], [], "named for two outputs"),
        ([film], [film], "is an input and would be overwritten"),
    ]
    for outputs, inputs, message in cases:
        with pytest.raises(UserError) as error:
            check_outputs(outputs, inputs)
        assert message in str(error.value)
    assert film.read_text() == "film"


def test_long_names_are_no_trouble(tmp_path):
    path = tmp_path / ("x" * 250)
    check_outputs([path], [])
    with Outputs() as outputs:
        with outputs.open(path) as file:
            file.write(b"1")
        outputs.commit()
    assert path.exists()
