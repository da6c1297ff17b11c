"""A fingerprint names the bytes of a dataset, not where they lie."""

import shutil

import pytest

from dualdub_jax.config import SourceConfig
from dualdub_jax.data_pipeline import fingerprint
from dualdub_jax.data_pipeline.mixture import open_mixture


def _read(*paths):
    # Within a process, an edit within one second of another is not seen.
    fingerprint._fingerprint.cache_clear()
    return fingerprint.fingerprint_files(paths)


@pytest.mark.parametrize("limits", [{}, {"_WHOLE_BYTES": 1000, "_NUM_BLOCKS": 8}])
def test_changes_with_bytes_and_order_and_not_with_names(tmp_path, monkeypatch, limits):
    for name, value in limits.items():
        monkeypatch.setattr(fingerprint, name, value)
    first, second = tmp_path / "a-0", tmp_path / "a-1"
    data = bytes(range(256)) * 1000
    first.write_bytes(data)
    second.write_bytes(b"x" * 100)
    original = _read(first, second)
    first = first.rename(tmp_path / "b-0")
    assert _read(first, second) == original
    assert _read(second, first) != original
    for other in (data[:-1], data + b"\n", b"\1" + data[1:], data[:-1] + b"\1"):
        first.write_bytes(other)
        assert _read(first, second) != original
    first.write_bytes(data)
    assert _read(first, second) == original


def test_a_moved_dataset_has_the_same_and_another_split_another(tmp_path, tiny_data_dir):
    def read(data_dir, split="train"):
        (source,) = open_mixture(data_dir, [SourceConfig("tiny_films/soundtrack")], split, "mixture")
        return source.fingerprint

    shutil.copytree(f"{tiny_data_dir}/tiny_films", tmp_path / "tiny_films")
    assert read(str(tmp_path)) == read(tiny_data_dir) != read(tiny_data_dir, "test")
