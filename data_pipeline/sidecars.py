"""Sidecars: what an encoder derives from records, beside their dataset.

A sidecar is keyed by clip id, and by the fingerprint of the encoder that made it:
`DATASET/sidecars/KIND/FINGERPRINT/`. It holds shards in ArrayRecord files of group size 1, one entry a clip
(its id, then its array as .npy), an index that finds a clip without reading any shard, and `sidecar.json`,
which is written last: a folder without it is not complete. Codec tokens and video features are kinds.

A shard is written under a temporary name and renamed, or uploaded, when it is whole, so an interrupted run
loses one shard at most, and another run makes the missing ones. Shards are cut by the dataset's own order:
the result has the same bytes however often it was interrupted. Source: our choice.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from dualdub_jax.data_pipeline.build_summary import FAILURES_FILE
from dualdub_jax.data_pipeline.shards import open_shard
from dualdub_jax.errors import UserError
from dualdub_jax.stores.commit import staged_folder, write_whole
from dualdub_jax.stores.local_copy import local_copy
from dualdub_jax.stores.path import StorePath, as_path, is_remote

_FOLDER = "sidecars"
_HEADER = "sidecar.json"
_INDEX = "index.npy"
_PLAN = "plan.json"
# 64 bits of a clip id's hash -> shard and place in it; sorted by hash.
_INDEX_TYPE = np.dtype([("hash", "<u8"), ("shard", "<u4"), ("place", "<u4")])
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class SidecarStore:
    """Random access to a complete sidecar; many processes may read it, and it may be sent to them.

    Attributes:
        folder: where it is.
        kind: what it holds, such as "speech_tokens".
        fingerprint: of the encoder that made it.
    """

    def __init__(self, folder: StorePath, kind: str, fingerprint: str) -> None:
        """Use `open`, which checks the folder."""
        self.folder, self.kind, self.fingerprint = folder, kind, fingerprint

    @classmethod
    def open(cls, dataset_folder: str | os.PathLike[str], kind: str, fingerprint: str) -> Self:
        """Opens the sidecar of a dataset.

        Raises:
            UserError: there is none of this kind, none by this encoder (the text names the others), or it is
                not complete.
        """
        dataset_folder = as_path(dataset_folder)
        folder = sidecar_folder(dataset_folder, kind, fingerprint)
        mend = f"run: dualdub data prepare {dataset_folder} --config CONFIG"
        if is_complete(folder):
            return cls(folder, kind, fingerprint)
        if folder.is_dir():
            raise UserError(f"{folder}: this sidecar is not complete; {mend}")
        others = sorted(path.parent.name for path in folder.parent.glob(f"*/{_HEADER}"))
        if others:
            raise UserError(
                f"{dataset_folder}: its {kind} were made by another encoder (fingerprint "
                f"{', '.join(others)}, not {fingerprint}); {mend}"
            )
        raise UserError(f"{dataset_folder}: has no {kind} sidecar; {mend}")

    @functools.cached_property
    def header(self) -> dict[str, Any]:
        """What `sidecar.json` holds: "kind", "fingerprint", "clips", "shards"."""
        with self._damage_named():
            return json.loads((self.folder / _HEADER).read_text(encoding="utf-8"))

    def __len__(self) -> int:
        return self.header["clips"]

    def __contains__(self, clip_id: str) -> bool:
        return self._find(clip_id) is not None

    def get(self, clip_id: str) -> np.ndarray:
        """The array of a clip.

        Raises:
            UserError: the sidecar has none, or is damaged.
        """
        with self._damage_named():
            found = self._find(clip_id)
        if found is None:
            raise UserError(
                f"{clip_id}: is not in {self.folder}; give a clip of this dataset, or remove that folder and "
                "run `dualdub data prepare` again"
            )
        return found

    def _find(self, clip_id: str) -> np.ndarray | None:
        wanted = _hash(clip_id)
        row = int(np.searchsorted(self._index["hash"], wanted))
        # Different ids may share a hash, so the entry's own id decides.
        while row < len(self._index) and self._index["hash"][row] == wanted:
            entry = self._shard(int(self._index["shard"][row])).read([int(self._index["place"][row])])[0]
            found, array = _decode(entry)
            if found == clip_id:
                return array
            row += 1
        return None

    @functools.cached_property
    def _index(self) -> np.ndarray:
        return np.load(self._local_folder / _INDEX, mmap_mode="r")

    @functools.cached_property
    def _local_folder(self) -> pathlib.Path:
        return local_copy(self.folder)

    def _shard(self, number: int) -> ArrayRecordReader:
        readers = self.__dict__.setdefault("_readers", {})
        if number not in readers:
            readers[number] = open_shard(_shard_path(self._local_folder, number), f"sidecar {self.kind}")
        return readers[number]

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            first_part = str(error).partition(";")[0]
            raise UserError(
                f"{self.folder}: this sidecar is damaged ({first_part}); remove the folder and run "
                "`dualdub data prepare` again"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens the files itself, and does not ask the object store for them.
        return {
            "folder": self.folder,
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "_local_folder": self._local_folder,
        }


@dataclasses.dataclass(frozen=True)
class SidecarWriter:
    """Writes a sidecar shard by shard.

    Attributes:
        folder: of the sidecar, local or on an object store.
        kind: what it holds.
        fingerprint: of the encoder.
        num_shards: how many there are in all.
        shard_size: clips of a shard, at most.
    """

    folder: StorePath
    kind: str
    fingerprint: str
    num_shards: int
    shard_size: int

    def begin(self) -> None:
        """Makes the folder, or checks that the one that is there was begun alike.

        Raises:
            UserError: it was begun with shards of another size or number.
        """
        if not is_remote(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        plan, path = {"shards": self.num_shards, "shard_size": self.shard_size}, self.folder / _PLAN
        if not path.is_file():
            write_whole(path, json.dumps(plan).encode())
        found = json.loads(path.read_text())
        if found != plan:
            raise UserError(f"{self.folder}: was begun with {found}, not {plan}; remove that folder")

    def missing_shards(self) -> list[int]:
        """Numbers of the shards that are not written yet."""
        return [i for i in range(self.num_shards) if not _shard_path(self.folder, i).is_file()]

    def write_shard(
        self, number: int, entries: Iterable[tuple[str, np.ndarray]], failures: Sequence[str] = ()
    ) -> None:
        """Writes one shard; it is there whole or not at all.

        Args:
            number: of the shard.
            entries: (clip id, array) in the dataset's order.
            failures: lines about the records that were left out, complete when all entries are consumed.
        """
        with staged_folder(self.folder) as folder:
            path = _shard_path(folder, number)
            temporary = path.with_suffix(f".{os.getpid()}.part")
            try:
                writer = ArrayRecordWriter(str(temporary), "group_size:1")
                for clip_id, array in entries:
                    writer.write(_encode(clip_id, array))
                writer.close()
                if failures:
                    write_whole(_failures_path(folder, number), "".join(failures).encode())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def failures(self) -> list[str]:
        """Lines about the records that were left out of the shards that are written."""
        paths = [
            path
            for number in range(self.num_shards)
            if (path := _failures_path(self.folder, number)).is_file()
        ]
        # Not `splitlines`: ids may hold other characters that it takes for ends of lines.
        lines = "".join(path.read_text(encoding="utf-8") for path in paths).split("\n")[:-1]
        return [f"{line}\n" for line in lines]

    def list_failures(self, lines: bytes) -> StorePath:
        """Writes `failures.jsonl`, or removes it if there are none; its path."""
        path = self.folder / FAILURES_FILE
        if lines:
            write_whole(path, lines)
        else:
            path.unlink(missing_ok=True)
        return path

    def finish(self) -> SidecarStore:
        """Writes the index, then the header that makes the sidecar complete.

        Raises:
            ValueError: shards are missing.
            UserError: two clips have one id.
        """
        if self.missing_shards():
            raise ValueError(f"{self.folder}: {len(self.missing_shards())} shards are not written yet")
        rows, ids = [], set()
        local_folder = local_copy(self.folder)
        for number in range(self.num_shards):
            for place, clip_id in enumerate(_ids(_shard_path(local_folder, number))):
                if clip_id in ids:
                    raise UserError(
                        f"{self.folder}: two clips of the dataset have the id {clip_id!r}, by which sidecars "
                        "are read; build it with an id for each clip, over all splits"
                    )
                ids.add(clip_id)
                rows.append((_hash(clip_id), number, place))
        index = np.sort(np.array(rows, _INDEX_TYPE))
        write_whole(self.folder / _INDEX, _npy(index))
        header = {
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "clips": len(index),
            "shards": self.num_shards,
        }
        self.list_failures("".join(self.failures()).encode())
        # Of shards, and of runs that were killed.
        for left in (*self.folder.glob("failures-*.jsonl"), *self.folder.glob("*.part")):
            left.unlink()
        write_whole(self.folder / _HEADER, json.dumps(header, indent=1).encode())
        return SidecarStore(self.folder, self.kind, self.fingerprint)


def sidecar_folder(dataset_folder: StorePath, kind: str, fingerprint: str) -> StorePath:
    """Where a sidecar is.

    Raises:
        ValueError: a kind or a fingerprint that is no plain name.
    """
    for name in (kind, fingerprint):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r}: expected letters, digits, '.', '_' and '-' only")
    return dataset_folder / _FOLDER / kind / fingerprint


def is_complete(folder: StorePath) -> bool:
    """Whether a sidecar's folder holds all of it."""
    return (folder / _HEADER).is_file()


def _failures_path(folder: StorePath, number: int) -> StorePath:
    return folder / f"failures-{number:05d}.jsonl"


def _shard_path(folder: StorePath, number: int) -> StorePath:
    return folder / f"shard-{number:05d}.array_record"


def _hash(clip_id: str) -> np.uint64:
    digest = hashlib.blake2b(clip_id.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _encode(clip_id: str, array: np.ndarray) -> bytes:
    name = clip_id.encode()
    return len(name).to_bytes(4, "little") + name + _npy(array)


def _decode(entry: bytes) -> tuple[str, np.ndarray]:
    end = 4 + int.from_bytes(entry[:4], "little")
    return entry[4:end].decode(), np.lib.format.read_array(io.BytesIO(entry[end:]), allow_pickle=False)


def _ids(path: pathlib.Path) -> Iterator[str]:
    reader = ArrayRecordReader(str(path))
    for place in range(reader.num_records()):
        entry = reader.read([place])[0]
        yield entry[4 : 4 + int.from_bytes(entry[:4], "little")].decode()
    reader.close()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
