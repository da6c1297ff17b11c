"""Files and folders of a store: appended, copied, committed."""

import os
import pathlib

import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.stores.appended_file import AppendedFile
from dualdub_jax.stores.commit import move_folder, remove_folder, staged_folder
from dualdub_jax.stores.local_copy import local_copy
from dualdub_jax.stores.path import as_path, find_files


def _append(path, *lines):
    file = AppendedFile(path)
    for line in lines:
        file.write(line)
    file.close()


def test_lines_are_appended_by_one_process_after_the_other(store):
    _append(store / "metrics.jsonl", "1", "2")
    _append(store / "metrics.jsonl", "3")
    assert (store / "metrics.jsonl").read_text() == "1\n2\n3\n"


def test_lines_are_uploaded_when_flushed_and_an_incomplete_one_is_dropped(store):
    (store / "metrics.jsonl").write_text("1\n{hal")
    file = AppendedFile(store / "metrics.jsonl")
    file.write("2")
    assert (store / "metrics.jsonl").read_text() == "1\n{hal"
    file.flush()
    assert (store / "metrics.jsonl").read_text() == "1\n2\n"
    file.close()


def test_lines_of_another_process_are_kept(store):
    path = store / "metrics.jsonl"
    first = AppendedFile(path)
    first.write("a1")
    first.flush()
    _append(path, "b1")
    first.write("a2")
    first.close()
    assert sorted(path.read_text().split()) == ["a1", "a2", "b1"]


def test_a_copy_is_made_once_for_each_content(store):
    (store / "a.txt").write_text("old")
    (store / "sub" / "b.txt").write_text("below")
    old = local_copy(store)
    assert [path.name for path in old.iterdir()] == ["a.txt"]
    os.utime(old / "a.txt", (1, 1))
    assert local_copy(store) == old
    assert (old / "a.txt").stat().st_mtime == 1
    (store / "a.txt").write_text("new")
    assert (local_copy(store) / "a.txt").read_text() == "new"
    assert (old / "a.txt").read_text() == "old"  # somebody may be reading it
    assert local_copy(store / "a.txt").read_text() == "new"


def test_only_what_the_pattern_names_is_copied(store):
    for name in ("x-train.array_record-0", "x-test.array_record-0"):
        (store / name).write_text(name)
    assert [path.name for path in local_copy(store, "-train.").iterdir()] == ["x-train.array_record-0"]


def test_local_disk_that_cannot_hold_the_copy_is_named(store, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (store / "a.txt").write_text("1")
    with pytest.raises(UserError, match=r"a.txt: cannot be copied to .*XDG_CACHE_HOME"):
        local_copy(store / "a.txt")


def test_a_staged_folder_is_uploaded_with_its_marker_last_or_not_at_all(store):
    with pytest.raises(RuntimeError), staged_folder(store, "a.json") as folder:
        (folder / "a.json").touch()
        raise RuntimeError
    assert find_files(store, "*") == []
    with staged_folder(store, "a.json") as folder:
        (folder / "a.json").write_text("{}")
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text("b")
    assert find_files(store, "*") == [store / "a.json", store / "sub" / "b"]
    assert find_files(store, "b") == [store / "sub" / "b"]
    assert (store / "a.json").stat().mtime >= (store / "sub" / "b").stat().mtime
    remove_folder(store, "a.json")
    remove_folder(store, "a.json")  # of nothing
    assert not store.exists()


def test_a_folder_is_moved_with_all_below_it(store):
    for name in ("a/x", "a/sub/y", "ab/z"):
        (store / name).write_text(name)
    move_folder(store / "a", store / "b", "x")
    assert find_files(store, "*") == [store / "ab" / "z", store / "b" / "sub" / "y", store / "b" / "x"]
    assert (store / "b" / "sub" / "y").read_text() == "a/sub/y"


def test_a_whole_bucket_is_never_removed(stores_environment):
    with pytest.raises(UserError, match="gs://films: is a whole bucket; name a folder in it"):
        remove_folder(as_path("gs://films"), "config.json")


def test_a_local_folder_is_not_staged(tmp_path):
    with staged_folder(tmp_path) as folder:
        assert folder == tmp_path
    assert local_copy(pathlib.Path("x")) == pathlib.Path("x")
