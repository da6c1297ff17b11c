"""Sources of datasets on object stores: tar shards, and a table with the media beside it."""

import io
import pathlib
import tarfile

from dualdub_jax.stores.path import StorePath
from tests.data_pipeline.builders.corpora import build_one, clips_of, write_sound


def test_shards_and_a_table_are_read_from_a_store(store: StorePath, tmp_path: pathlib.Path) -> None:
    sound = write_sound(tmp_path / "a.wav", 1.5).read_bytes()
    for shard in ("000", "001"):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            info = tarfile.TarInfo(f"{shard}.wav")
            info.size = len(sound)
            tar.addfile(info, io.BytesIO(sound))
        (store / "shards" / f"{shard}.tar").write_bytes((tmp_path / f"{shard}.tar").read_bytes())
    dataset, _ = build_one("webdataset", tmp_path / "out", source=f"{store}/shards/{{000..001}}.tar")
    assert list(clips_of(dataset)) == ["000/000", "001/001"]

    (store / "clips.csv").write_text(f"audio\nsounds/b.wav\n{store}/sounds/c.wav\n")
    (store / "sounds" / "b.wav").write_bytes(sound)
    (store / "sounds" / "c.wav").write_bytes(sound)
    table, _ = build_one("manifest", tmp_path / "out", source=f"{store}/clips.csv")
    assert len(clips_of(table)) == 2
